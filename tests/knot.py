"""Knot DNS as a customer's nameserver: it takes records that others refuse, and serves a zone file as it is."""

from pathlib import Path

import dns.exception
import dns.message
import dns.query

from pdm_service.dev.process import Process, account, find_program, spawn

_READY_SECONDS = 15.0


class Knot(Process):
    """Knot DNS on port 53 of one address, with one zone."""

    name = "knotd"

    def __init__(self, directory: Path, address: str, domain: str, zone: str) -> None:
        super().__init__(directory)
        self.address = address
        self._domain = domain
        self._zone = zone

    def start(self) -> None:
        self._prepare_directory()
        self._write_private("zone", self._zone)
        text = f"""\
server:
    listen: {self.address}@53
    rundir: {self.directory}
database:
    storage: {self.directory}
log:
  - target: stderr
    any: warning
zone:
  - domain: {self._domain}
    storage: {self.directory}
    file: zone
    semantic-checks: off
    journal-content: none
    zonefile-sync: -1
"""
        configuration = self._write_private("knot.conf", text)
        self._mark_log()
        command = [str(find_program(self.name)), "-c", str(configuration)]
        who = account()
        if who is not None:
            capability = "+net_bind_service"
            command = [
                "setpriv", f"--reuid={who.uid}", f"--regid={who.gid}", "--clear-groups", f"--inh-caps={capability}",
                f"--ambient-caps={capability}", "--pdeathsig", "KILL", *command,
            ]  # fmt: skip
        self._child = spawn(command, self.directory, self.log, as_ourselves=True)
        self._await_ready(self._answers, _READY_SECONDS)

    def _answers(self) -> bool:
        try:
            reply = dns.query.udp(dns.message.make_query(self._domain, "SOA"), self.address, timeout=0.5)
        except (TimeoutError, OSError, dns.exception.DNSException):
            return False
        return bool(reply.answer)
