"""Nameservers that misbehave, each in its way: real servers, UDP and TCP, on an address of their own."""

import contextlib
import socket
import socketserver
import struct
import threading
import time
from collections.abc import Callable

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset

Behaviour = Callable[["Faulty", dns.message.Message, bool], bytes | None]
"""Makes the reply to a question that came by TCP or not; None: there is none."""


class Faulty:
    """A nameserver that serves one small zone, and misbehaves as told."""

    def __init__(
        self,
        address: str,
        zone: str,
        nameservers: tuple[str, ...],
        behave: Behaviour | None = None,
        *,
        tcp: bool = True,
    ) -> None:
        self.address = address
        self.zone = dns.name.from_text(zone)
        self.nameservers = nameservers
        self.behave: Behaviour = behave or well
        self.seen = 0
        self._servers: list[socketserver.BaseServer] = [_Udp(self)]
        if tcp:
            self._servers.append(_Tcp(self))
        for server in self._servers:
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def stop(self) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()

    def answer(self, query: dns.message.Message, *, tcp: bool) -> bytes | None:
        self.seen += 1
        return self.behave(self, query, tcp)

    def proper(self, query: dns.message.Message) -> dns.message.Message:
        """The reply of a well-behaved server."""
        reply = dns.message.make_response(query)
        asked = query.question[0]
        reply.flags |= dns.flags.AA
        if asked.name == self.zone and asked.rdtype == dns.rdatatype.SOA:
            soa = f"{self.nameservers[0]}. hostmaster.{self.zone} 7 10800 3600 604800 60"
            reply.answer.append(dns.rrset.from_text(self.zone, 60, "IN", "SOA", soa))
        elif asked.name == self.zone and asked.rdtype == dns.rdatatype.NS:
            reply.answer.append(
                dns.rrset.from_text_list(self.zone, 60, "IN", "NS", [f"{one}." for one in self.nameservers])
            )
        return reply


def well(server: Faulty, query: dns.message.Message, _: bool) -> bytes | None:
    return server.proper(query).to_wire()


def silent(_: Faulty, __: dns.message.Message, ___: bool) -> bytes | None:
    return None


def silent_udp(server: Faulty, query: dns.message.Message, tcp: bool) -> bytes | None:
    return server.proper(query).to_wire() if tcp else None


def code(rcode: str) -> Behaviour:
    def behave(_: Faulty, query: dns.message.Message, __: bool) -> bytes | None:
        reply = dns.message.make_response(query)
        reply.set_rcode(dns.rcode.from_text(rcode))
        return reply.to_wire()

    return behave


def not_authoritative(server: Faulty, query: dns.message.Message, _: bool) -> bytes | None:
    reply = server.proper(query)
    reply.flags &= ~dns.flags.AA
    return reply.to_wire()


def truncating(server: Faulty, query: dns.message.Message, tcp: bool) -> bytes | None:
    reply = server.proper(query)
    if not tcp:
        reply.answer, reply.authority = [], []
        reply.flags |= dns.flags.TC
    return reply.to_wire()


def upward(_: Faulty, query: dns.message.Message, __: bool) -> bytes | None:
    reply = dns.message.make_response(query)
    reply.authority.append(dns.rrset.from_text(".", 60, "IN", "NS", "a.rootsrv."))
    return reply.to_wire()


def slow(seconds: float) -> Behaviour:
    def behave(server: Faulty, query: dns.message.Message, _: bool) -> bytes | None:
        time.sleep(seconds)
        return server.proper(query).to_wire()

    return behave


def garbage(server: Faulty, query: dns.message.Message, _: bool) -> bytes | None:
    reply = server.proper(query)
    reply.id ^= 1
    return reply.to_wire()


def other_question(server: Faulty, query: dns.message.Message, _: bool) -> bytes | None:
    reply = server.proper(dns.message.make_query("other.zz", "SOA"))
    reply.id = query.id
    return reply.to_wire()


def no_edns(server: Faulty, query: dns.message.Message, _: bool) -> bytes | None:
    if query.edns < 0:
        return server.proper(query).to_wire()
    reply = dns.message.make_response(query)
    reply.use_edns(False)
    reply.set_rcode(dns.rcode.FORMERR)
    return reply.to_wire()


def no_bytes(_: Faulty, __: dns.message.Message, ___: bool) -> bytes | None:
    return b"\x00"


# --- servers --------------------------------------------------------------------------------------------


class _Udp(socketserver.ThreadingUDPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, faulty: Faulty) -> None:
        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                data, sock = self.request
                wire = faulty.answer(dns.message.from_wire(data), tcp=False)
                if wire is not None:
                    sock.sendto(wire, self.client_address)

        self.address_family = _family(faulty.address)
        super().__init__((faulty.address, 53), Handler)


class _Tcp(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True

    def __init__(self, faulty: Faulty) -> None:
        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                with contextlib.suppress(OSError, struct.error, EOFError):
                    (length,) = struct.unpack("!H", _exactly(self.request, 2))
                    wire = faulty.answer(dns.message.from_wire(_exactly(self.request, length)), tcp=True)
                    if wire is None:
                        # Silence by TCP is a connection that stays open until the client gives up.
                        self.request.recv(1)
                        return
                    self.request.sendall(struct.pack("!H", len(wire)) + wire)

        self.address_family = _family(faulty.address)
        super().__init__((faulty.address, 53), Handler)


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def _exactly(sock: socket.socket, count: int) -> bytes:
    found = b""
    while len(found) < count:
        if not (chunk := sock.recv(count - len(found))):
            raise EOFError
        found += chunk
    return found
