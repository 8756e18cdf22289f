"""A real validating resolver (Unbound) that knows only the zones it is configured with and keeps nothing for long."""

import shutil
from ipaddress import IPv4Network
from pathlib import Path

import dns.exception
import dns.message
import dns.query

from pdm_service.dev.process import Process, find_program

_READY_SECONDS = 15.0
_PROBE_SECONDS = 0.5
_APPARMOR_PROFILE = Path("/etc/apparmor.d/usr.sbin.unbound")
_LOOPBACK = IPv4Network("127.0.0.0/8")
_ELSEWHERE = sorted(IPv4Network("0.0.0.0/0").address_exclude(_LOOPBACK))
# infra-cache-max-rtt: Unbound drops an answer that took it longer than 1.9 s (discard-timeout), also the
# SERVFAIL about a nameserver that is away, so it has to give up sooner than by itself.
_SERVER = """\
server:
  username: ""
  chroot: ""
  pidfile: ""
  use-syslog: no
  logfile: ""
  val-log-level: 2
  num-threads: 1
  interface: 127.0.0.1
  do-ip6: no
  module-config: "validator iterator"
  do-not-query-localhost: no
  trust-anchor-signaling: no
  root-key-sentinel: no
  aggressive-nsec: no
  cache-max-ttl: 0
  cache-max-negative-ttl: 0
  val-bogus-ttl: 0
  key-cache-size: 0
  infra-host-ttl: 1
  infra-cache-max-rtt: 500
  outgoing-port-avoid: 0-32767
"""


class Resolver(Process):
    """Unbound on 127.0.0.1:`port`, UDP and TCP; `ad` in an answer's flags means that it is secure.

    It keeps no answers; keys and what it knows of a nameserver it keeps for about a second. A nameserver
    that is away makes it answer SERVFAIL within a second.

    `stubs` says which address and port serves a zone and all below it; nothing but loopback is ever
    asked. `anchors` are DNSKEY or DS records as lines of a zone file.
    """

    name = "unbound"

    def __init__(self, directory: Path, port: int, *, stubs: dict[str, tuple[str, int]], anchors: list[str]) -> None:
        super().__init__(directory)
        self.port = port
        self._stubs = stubs
        self._anchors = anchors

    def start(self) -> None:
        """Start and return when it answers. Raises ServerFailed, also for an anchor that it cannot read."""
        self._prepare_directory()
        configuration = self._write_private("unbound.conf", self._configuration())
        self._spawn([self._program(), "-d", "-c", configuration])
        self._await_ready(self._answers, _READY_SECONDS)

    def _program(self) -> Path:
        program = find_program(self.name)
        if not _APPARMOR_PROFILE.exists():
            return program
        # Debian's profile goes by the program's path and would forbid our directory.
        copy = self.directory / self.name
        copy.unlink(missing_ok=True)
        shutil.copy(program, copy)
        copy.chmod(0o755)
        return copy

    def _configuration(self) -> str:
        lines = [f'  directory: "{self.directory}"', f"  port: {self.port}"]
        lines += [f"  do-not-query-address: {network}" for network in _ELSEWHERE]
        lines += [f"  trust-anchor: '{anchor}'" for anchor in self._anchors]
        # Unbound's own empty zones (test., invalid. and others) would hide a stub below them.
        lines += [f'  local-zone: "{zone}" transparent' for zone in self._stubs]
        lines += ["remote-control:", "  control-enable: no"]
        for zone, (address, port) in self._stubs.items():
            lines += ["stub-zone:", f'  name: "{zone}"', f"  stub-addr: {address}@{port}", "  stub-no-cache: yes"]
        return _SERVER + "\n".join(lines) + "\n"

    def _answers(self) -> bool:
        question = dns.message.make_query("localhost", "A")
        try:
            # A question by UDP that comes too early is lost; a connection is refused at once.
            dns.query.tcp(question, "127.0.0.1", port=self.port, timeout=_PROBE_SECONDS)
        except (OSError, dns.exception.DNSException):
            return False
        return True
