"""Nameservers that misbehave, each in its way: real servers, UDP and TCP, on an address of their own."""

import base64
import contextlib
import itertools
import socket
import socketserver
import struct
import threading
import time
from collections.abc import Callable

import dns.dnssec
import dns.flags
import dns.message
import dns.name
import dns.query
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
        self._asking = threading.local()
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

    def send_stray(self, wire: bytes) -> None:
        """Send another datagram to whom this thread answers."""
        sock, to = self._asking.whom
        sock.sendto(wire, to)

    def asked_by(self, sock: socket.socket, to: object) -> None:
        self._asking.whom = (sock, to)

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


def deep_names(size: int) -> Behaviour:
    """Records up to so many bytes, each with an owner name of its own with 120 labels: 2 bytes by a pointer."""

    def behave(server: Faulty, query: dns.message.Message, tcp: bool) -> bytes | None:
        reply = dns.message.make_response(query)
        reply.use_edns(False)
        wire = bytearray(reply.to_wire())
        data = struct.pack("!HHIH", 1, 1, 60, 4) + b"\xc0\x00\x02\x01"
        chain = len(wire)
        wire += b"\x01a" * 118 + b"\x00" + data
        count = 1
        while len(wire) + 18 < size:
            # A label of its own, then into the chain.
            wire += (
                b"\x01"
                + bytes([97 + count % 26])
                + struct.pack("!H", 0xC000 | (chain + 2 * (count // 26 % 100)))
                + data
            )
            count += 1
        wire[2] |= 0x84
        wire[6:8] = struct.pack("!H", count)
        return bytes(wire)

    return behave


def many_keys(count: int) -> Behaviour:
    """A DNSKEY set of so many keys that share a tag, with as many signatures of it that are all wrong."""

    def behave(server: Faulty, query: dns.message.Message, tcp: bool) -> bytes | None:
        asked = query.question[0]
        if asked.rdtype != dns.rdatatype.DNSKEY:
            return server.proper(query).to_wire()
        reply = dns.message.make_response(query)
        reply.flags |= dns.flags.AA
        if not tcp:
            reply.flags |= dns.flags.TC
            return reply.to_wire()
        # The tag is a sum of 16-bit words (RFC 4034 appendix B): words that change places keep it.
        words = [bytes([1, 2]), bytes([3, 4])]
        keys = [base64.b64encode(_permuted(number, words)).decode() for number in range(count)]
        reply.answer.append(
            dns.rrset.from_text_list(asked.name, 60, "IN", "DNSKEY", [f"257 3 13 {key}" for key in keys])
        )
        tag = dns.dnssec.key_id(reply.answer[0][0])
        signature = base64.b64encode(bytes(64)).decode()
        reply.answer.append(
            dns.rrset.from_text_list(
                asked.name, 60, "IN", "RRSIG",
                [f"DNSKEY 13 {len(asked.name) - 1} 60 2030010100{number // 60:02}{number % 60:02} 20260101000000"
                 f" {tag} {asked.name} {signature}" for number in range(count)],
            )
        )  # fmt: skip
        return reply.to_wire(max_size=65535)

    return behave


def _permuted(number: int, words: list[bytes]) -> bytes:
    bits = format(number, "016b")
    return b"".join(words[0] + words[1] if bit == "0" else words[1] + words[0] for bit in bits)


def flooding(count: int) -> Behaviour:
    """The answer comes behind so many that are none."""

    def behave(server: Faulty, query: dns.message.Message, tcp: bool) -> bytes | None:
        if not tcp:
            reply = deep_names(1200)(server, query, tcp)
            assert reply is not None
            wrong = bytes([reply[0] ^ 1]) + reply[1:]
            for _ in range(count):
                server.send_stray(wrong)
        return server.proper(query).to_wire()

    return behave


# --- in front of a real server ------------------------------------------------------------------------


def through(upstream: str, fault: "Fault") -> Behaviour:
    """Answer as the real server at `upstream` does, but for a fault."""

    def behave(_: Faulty, query: dns.message.Message, tcp: bool) -> bytes | None:
        def real() -> dns.message.Message:
            return (dns.query.tcp if tcp else dns.query.udp)(query, upstream, timeout=10)

        reply = fault(query, tcp, real)
        return reply.to_wire() if reply is not None else None

    return behave


Fault = Callable[[dns.message.Message, bool, Callable[[], dns.message.Message]], dns.message.Message | None]
"""Makes a reply of a question, whether it came by TCP, and the way to the real server."""


def _failed(query: dns.message.Message, rcode: dns.rcode.Rcode) -> dns.message.Message:
    reply = dns.message.make_response(query)
    reply.use_edns(False)
    reply.set_rcode(rcode)
    return reply


def healthy(_: dns.message.Message, __: bool, real: Callable[[], dns.message.Message]) -> dns.message.Message | None:
    return real()


def formerr_to_edns(
    query: dns.message.Message, _: bool, real: Callable[[], dns.message.Message]
) -> dns.message.Message | None:
    return _failed(query, dns.rcode.FORMERR) if query.edns >= 0 else real()


def servfail_but_for_the_apex(
    query: dns.message.Message, _: bool, real: Callable[[], dns.message.Message]
) -> dns.message.Message | None:
    rdtype = query.question[0].rdtype
    return real() if rdtype in {dns.rdatatype.SOA, dns.rdatatype.NS} else _failed(query, dns.rcode.SERVFAIL)


def rate_limited(slip: int) -> Fault:
    """Five denials a second by UDP; of the others each `slip`th is truncated (0: none), the rest is dropped."""
    denials: list[float] = []
    lock = threading.Lock()

    def fault(
        query: dns.message.Message, tcp: bool, real: Callable[[], dns.message.Message]
    ) -> dns.message.Message | None:
        reply = real()
        if tcp or reply.answer:
            return reply
        with lock:
            now = time.monotonic()
            denials.append(now)
            if len([one for one in denials if one > now - 1]) <= 5:
                return reply
            cut = slip and len(denials) % slip == 0
        if not cut:
            return None
        reply = dns.message.make_response(query)
        reply.flags |= dns.flags.AA | dns.flags.TC
        return reply

    return fault


def lossy(query: dns.message.Message, tcp: bool, real: Callable[[], dns.message.Message]) -> dns.message.Message | None:
    """Every tenth answer is lost, by UDP."""
    return None if not tcp and next(_LOST) % 10 == 0 else real()


_LOST = itertools.count(1)


def late(seconds: float) -> Fault:
    def fault(_: dns.message.Message, __: bool, real: Callable[[], dns.message.Message]) -> dns.message.Message | None:
        time.sleep(seconds)
        return real()

    return fault


# --- servers --------------------------------------------------------------------------------------------


class _Udp(socketserver.ThreadingUDPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, faulty: Faulty) -> None:
        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                data, sock = self.request
                faulty.asked_by(sock, self.client_address)
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
