"""A DNS tree of real servers on loopback: a root, two servers of a TLD, an old provider, the platform's own.

Every server has addresses of its own in 127.0.0.0/8 and answers on port 53, since a resolver follows referrals to
no other. Root and TLD are signed, and the root's DS is all that the validating resolver trusts. The two servers of
the TLD have the same keys, so that they may disagree without being bogus.
"""

import errno
import random
import socket
from collections.abc import Sequence
from pathlib import Path

import dns.flags
import dns.message
import dns.query
import dns.rcode
import dns.rdatatype
import httpx

from pdm_service.dev.process import account, spawn
from pdm_service.dev.servers import Postgres, PowerDNS, Resolver, free_port, load_schema
from tests.dns_view import secure
from tests.patience import patient

TLD = "zz"
_CLAIMING_HOST = 254
NS_TTL, DS_TTL, NEGATIVE_TTL = 2, 1, 1
ROOT_NAME = "a.rootsrv"
TLD_NAMES = ("ns1.nic.zz", "ns2.nic.zz")
OLD_NAMES = ("ns1.old.zz", "ns2.old.zz")
PLATFORM_NAMES = ("ns1.platform.zz", "ns2.platform.zz")


class Authority(PowerDNS):
    """A PowerDNS on port 53, which it may bind though it runs as an unprivileged account."""

    def _spawn(self, command: Sequence[str | Path]) -> None:
        who = account()
        if who is None:
            super()._spawn(command)
            return
        capability = "+net_bind_service"
        prefix = [
            "setpriv", f"--reuid={who.uid}", f"--regid={who.gid}", "--clear-groups", f"--inh-caps={capability}",
            f"--ambient-caps={capability}", "--pdeathsig", "KILL",
        ]  # fmt: skip
        self._mark_log()
        self._child = spawn([*prefix, *command], self.directory, self.log, as_ourselves=True)


class CachingResolver(Resolver):
    """Unbound with a cache, from the tree's root down."""

    def __init__(self, directory: Path, port: int, root: str, anchors: list[str]) -> None:
        super().__init__(directory, port, stubs={}, anchors=anchors)
        self._root = root

    def _configuration(self) -> str:
        hints = self._write_private("root.hints", f". 3600 NS {ROOT_NAME}.\n{ROOT_NAME}. 3600 A {self._root}\n")
        anchors = "".join(f"  trust-anchor: '{anchor}'\n" for anchor in self._anchors)
        return f"""\
server:
  username: ""
  chroot: ""
  pidfile: ""
  use-syslog: no
  logfile: ""
  val-log-level: 2
  num-threads: 1
  interface: 127.0.0.1
  port: {self.port}
  directory: "{self.directory}"
  root-hints: "{hints}"
  do-ip6: no
  do-not-query-localhost: no
  do-not-query-address: 0.0.0.0/2
  do-not-query-address: 128.0.0.0/1
  module-config: "validator iterator"
  trust-anchor-signaling: no
  val-bogus-ttl: 1
  infra-host-ttl: 1
  cache-max-negative-ttl: 2
  outgoing-port-avoid: 0-32767
{anchors}remote-control:
  control-enable: no
"""


class Zones:
    """The zones of one server, through its API."""

    def __init__(self, server: PowerDNS) -> None:
        self._base = f"{server.api_url}/api/v1/servers/localhost/zones"
        self._client = httpx.Client(headers={"X-API-Key": server.api_key}, timeout=patient(20), trust_env=False)

    def call(self, method: str, path: str = "", body: object = None) -> httpx.Response:
        return self._client.request(method, self._base + path, json=body).raise_for_status()

    def create(self, name: str, rrsets: list[dict], *, signed: bool = True) -> None:
        body = {"name": f"{name}.", "kind": "Native", "dnssec": signed, "api_rectify": True, "nameservers": []}
        self.call("POST", "", {**body, "soa_edit_api": "INCREASE", "rrsets": rrsets})

    def patch(self, zone: str, rrsets: list[dict]) -> None:
        self.call("PATCH", f"/{path(zone)}", {"rrsets": rrsets})

    def delete(self, zone: str) -> None:
        self._client.request("DELETE", f"{self._base}/{path(zone)}")

    def key(self, zone: str) -> dict:
        (key,) = self.call("GET", f"/{path(zone)}/cryptokeys").json()
        return self.call("GET", f"/{path(zone)}/cryptokeys/{key['id']}").json()

    def ds(self, zone: str) -> list[str]:
        return [one for one in self.key(zone)["ds"] if one.split()[2] == "2"]

    def sign_with(self, zone: str, key: dict) -> None:
        body = {"keytype": "csk", "active": True, "published": True, "content": key["privatekey"]}
        self.call("POST", f"/{path(zone)}/cryptokeys", body)
        self.call("PUT", f"/{path(zone)}/rectify")


def path(zone: str) -> str:
    return f"{zone}." if zone else "=2E"


def rr(name: str, rtype: str, *contents: str, ttl: int = 60) -> dict:
    """An RRset to replace what is there; without contents to delete it."""
    if not contents:
        return {"name": f"{name}.", "type": rtype, "changetype": "DELETE"}
    found = [{"content": content, "disabled": False} for content in contents]
    return {"name": f"{name}.", "type": rtype, "ttl": ttl, "changetype": "REPLACE", "records": found}


def soa(zone: str, primary: str) -> dict:
    return rr(zone, "SOA", f"{primary}. hostmaster.{zone or 'rootsrv'}. 0 10800 3600 604800 {NEGATIVE_TTL}", ttl=5)


class Tree:
    """The servers, and what a registry would do."""

    def __init__(self, directory: Path, postgres: Postgres) -> None:
        self._directory = directory
        self._postgres = postgres
        self.prefix, self._claim = claimed_addresses()
        self._next = 100
        self.root = self._server("root", 1)
        self.tlds = [self._server("tld1", 11), self._server("tld2", 12)]
        self.old = self._server("old", 21, 22)
        self.ours = self._server("ours", 31, 32)
        self._servers = [self.root, *self.tlds, self.old, self.ours]
        self._resolvers: list[CachingResolver] = []

    def _server(self, name: str, *hosts: int) -> Authority:
        database = f"tree_{name}"
        self._postgres.create_database(database)
        dsn = self._postgres.dsn(database)
        load_schema(dsn)
        addresses = [f"{self.prefix}.{host}" for host in hosts]
        where = self._directory / f"tree-{name}"
        return Authority(where, dsn, free_port(), 53, api_key="tree-api-key", addresses=addresses)

    def start(self) -> "Tree":
        for server in self._servers:
            server.start()
        hosts = dict(zip(PLATFORM_NAMES, self.ours.addresses, strict=True))
        hosts |= dict(zip(OLD_NAMES, self.old.addresses, strict=True))
        hosts |= {name: server.addresses[0] for name, server in zip(TLD_NAMES, self.tlds, strict=True)}
        tld = [soa(TLD, TLD_NAMES[0]), rr(TLD, "NS", *(f"{name}." for name in TLD_NAMES))]
        tld += [rr(name, "A", address) for name, address in hosts.items()]
        first, second = (Zones(server) for server in self.tlds)
        first.create(TLD, tld)
        second.create(TLD, tld, signed=False)
        second.sign_with(TLD, first.key(TLD))
        root = [soa("", ROOT_NAME), rr("", "NS", f"{ROOT_NAME}."), rr(ROOT_NAME, "A", self.root.addresses[0])]
        root += [rr(TLD, "NS", *(f"{name}." for name in TLD_NAMES)), rr(TLD, "DS", *first.ds(TLD))]
        root += [rr(name, "A", hosts[name]) for name in TLD_NAMES]
        Zones(self.root).create("", root)
        self.anchors = [f". IN DS {ds}" for ds in Zones(self.root).ds("")]
        self.resolver = self.cold_resolver()
        return self

    def stop(self) -> None:
        for server in (*self._resolvers, *self._servers):
            server.stop()
        self._claim.close()

    def cold_resolver(self) -> CachingResolver:
        """A validating resolver that knows nothing yet."""
        name = f"unbound-{len(self._resolvers)}"
        resolver = CachingResolver(self._directory / name, free_port(), self.root.addresses[0], self.anchors)
        resolver.start()
        self._resolvers.append(resolver)
        return resolver

    # --- what the registry and others do ---------------------------------------------------------

    def delegate(
        self,
        domain: str,
        nameservers: Sequence[str],
        ds: Sequence[str] = (),
        *,
        only: int | None = None,
        ttl: int = NS_TTL,
        ds_ttl: int = DS_TTL,
    ) -> None:
        """Write NS and DS of a domain at the TLD's servers, or at one of them; no nameservers: take it away."""
        change = [
            rr(domain, "NS", *(f"{name}." for name in nameservers), ttl=ttl),
            rr(domain, "DS", *ds, ttl=ds_ttl),
        ]
        for number, server in enumerate(self.tlds):
            if only in {None, number}:
                Zones(server).patch(TLD, change)

    def host(self, name: str, address: str, rtype: str = "A") -> None:
        """Give a name below the TLD an address (or a CNAME)."""
        for server in self.tlds:
            Zones(server).patch(TLD, [rr(name, rtype, address)])

    def address(self) -> str:
        """An address of the tree that nobody has yet."""
        self._next += 1
        assert self._next < _CLAIMING_HOST
        return f"{self.prefix}.{self._next}"

    def old_zone(
        self, domain: str, *rrsets: dict, signed: bool = False, names: Sequence[str] = OLD_NAMES, ttl: int = NS_TTL
    ) -> list[str]:
        """Have the old provider serve a domain; return its DS."""
        apex = [soa(domain, names[0]), rr(domain, "NS", *(f"{name}." for name in names), ttl=ttl)]
        zones = Zones(self.old)
        zones.create(domain, [*apex, *rrsets], signed=signed)
        return zones.ds(domain) if signed else []

    def old_patch(self, domain: str, *rrsets: dict) -> None:
        Zones(self.old).patch(domain, list(rrsets))

    def forget_old(self, domain: str) -> None:
        """Have the old provider serve a domain no more."""
        Zones(self.old).delete(domain)

    def hints(self) -> str:
        return f"{ROOT_NAME}={self.root.addresses[0]}"

    def secure(self, name: str, rtype: str) -> tuple[str, list[str], bool]:
        """(rcode, records, validated) as the resolver with the warm cache tells."""
        return secure(self.resolver.port, name, rtype)


def ask(address: str, name: str, rtype: str) -> dns.message.Message:
    """Ask a server without recursion."""
    query = dns.message.make_query(name, rtype, flags=0, use_edns=0, want_dnssec=True, payload=1232)
    reply, _ = dns.query.udp_with_fallback(query, address, timeout=patient(5))
    return reply


def answers(address: str, name: str, rtype: str) -> list[str]:
    """The records of a name and type at a server, sorted."""
    wanted = dns.rdatatype.from_text(rtype)
    return sorted(
        rdata.to_text() for rrset in ask(address, name, rtype).answer if rrset.rdtype == wanted for rdata in rrset
    )


def claimed_addresses() -> tuple[str, socket.socket]:
    """Give the first three bytes of addresses that no other process's tree has, and the socket that keeps them ours.

    Raises PermissionError when we may not use port 53, and OSError when somebody has it on all addresses.
    """
    for _ in range(100):
        prefix = f"127.{random.randrange(64, 250)}.{random.randrange(1, 250)}"
        claim = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            claim.bind((f"{prefix}.{_CLAIMING_HOST}", 53))
        except OSError as error:
            claim.close()
            if error.errno != errno.EADDRINUSE:
                raise
        else:
            return prefix, claim
    raise OSError(errno.EADDRINUSE, "port 53 of all loopback addresses is in use")
