"""What it costs to watch delegations that wait for their customers, at the default pace of the first minute."""

import re
import time
import urllib.request

import httpx

from bench.measure import Effort, Line, progress
from bench.stack import Program, Stack
from pdm_service.dev.servers import wait_until
from tests.flood import settings
from tests.tree import OLD_NAMES, TLD, Tree, Zones, rr

_OBSERVED_SECONDS = 120.0


def measure(stack: Stack, effort: Effort) -> list[Line]:
    """Count questions and processor time, on a DNS tree of real servers."""
    tree = Tree(stack.directory, stack.postgres)
    rates, loads, sizes = [], [], []
    try:
        tree.start()
        domains = [f"w{number}.{TLD}" for number in range(effort.watched)]
        for server in tree.tlds:
            delegations = [rr(one, "NS", *(f"{name}." for name in OLD_NAMES), ttl=2) for one in domains]
            Zones(server).patch(TLD, delegations)
        for run in range(min(2, effort.runs)):
            progress(f"watch: run {run + 1}")
            program = stack.service(stack.database(), "watch.test", **settings(tree))
            with program.running(), httpx.Client(base_url=program.url, trust_env=False) as client:
                for one in domains:
                    client.post("/v1/reserve", json={"mode": "byo-manual", "domain": one}).raise_for_status()
                _await_looks(program, effort.watched)
                before, cpu, looks = _counted(program, "queries"), program.cpu_seconds(), _counted(program, "looks")
                began = time.monotonic()
                time.sleep(effort.window)
                _await_looks(program, looks + 1)
                seconds = time.monotonic() - began
                asked = _counted(program, "queries") - before
                rates.append(asked / seconds)
                loads.append(100 * (program.cpu_seconds() - cpu) / seconds)
                sizes.append(asked / (_counted(program, "looks") - looks))
    finally:
        tree.stop()
    note = f"{effort.watched} domains, observed every 15 s; after an hour it is every 15 minutes, after a day hourly"
    return [
        Line(what=f"watch {effort.watched} domains, first minute", unit="queries/s", ours=rates, bound=None, note=note),
        Line(what="  an observation", unit="queries", ours=sizes, bound=200),
        Line(what="  processor", unit="% of a core", ours=loads, bound=100),
    ]


def _await_looks(program: Program, count: float) -> None:
    if not wait_until(lambda: _counted(program, "looks") >= count, _OBSERVED_SECONDS):
        raise RuntimeError(f"there were {_counted(program, 'looks'):.0f} observations of {count:.0f}")


def _counted(program: Program, what: str) -> float:
    with urllib.request.urlopen(f"{program.url}/metrics") as reply:
        text = reply.read().decode()
    name = {"queries": r"pdm_dns_queries_total", "looks": r"pdm_delegation_looks_total\{[^}]*\}"}[what]
    return sum(float(value) for value in re.findall(rf"^{name} (\S+)$", text, re.MULTILINE))
