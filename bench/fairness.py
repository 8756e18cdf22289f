"""What a client's commit takes while another client has claims on very many domains whose nameservers are silent."""

import hashlib
import json
import socket
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx

from bench.measure import Effort, Line, progress
from bench.stack import Stack
from tests.tree import OLD_NAMES, PLATFORM_NAMES, TLD, Tree, Zones, rr

HOSTS, ADDRESSES = 13, 4


def measure(stack: Stack, effort: Effort) -> list[Line]:
    """Commit domains of one client, in turns without and with the other's flood."""
    tree = Tree(stack.directory, stack.postgres)
    try:
        tree.start()
        with silent(tree) as names:
            took = [_run(stack, tree, names, effort, run) for run in range(min(3, effort.runs))]
    finally:
        tree.stop()
    note = f"{effort.flooded} claims of another client on domains with {HOSTS * ADDRESSES} addresses that never answer"
    return [
        Line(
            what="commit of a customer's domain beside a flood",
            unit="ms",
            ours=[flooded for _, flooded in took],
            bare=[alone for alone, _ in took],
            bound=1.5,
            note=note,
        )
    ]


@contextmanager
def silent(tree: Tree) -> Iterator[list[str]]:
    """Names of nameservers whose addresses take questions and never answer."""
    sockets = []
    mark = uuid.uuid4().hex[:6]
    names = [f"s{number}-{mark}.{TLD}" for number in range(HOSTS)]
    changes = []
    for name in names:
        addresses = [tree.address() for _ in range(ADDRESSES)]
        changes.append(rr(name, "A", *addresses))
        for address in addresses:
            sockets.append(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            sockets[-1].bind((address, 53))
    for server in tree.tlds:
        Zones(server).patch(TLD, changes)
    try:
        yield names
    finally:
        for one in sockets:
            one.close()


def callers(directory: Path) -> dict[str, str]:
    """Two clients, each with a key that is its name, as settings of a service."""
    file = directory / f"callers-{uuid.uuid4().hex[:6]}.jsonl"
    lines = [
        {"id": one, "sha256": hashlib.sha256(one.encode()).hexdigest(), "scopes": ["allocate"]}
        for one in ("flood", "other")
    ]
    file.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return {"PDM_AUTH_TOKENS_FILE": str(file), "PDM_CLAIMS_PER_MINUTE": "0", "PDM_OBSERVATIONS_PER_MINUTE": "0"}


def settings(tree: Tree) -> dict[str, str]:
    """Of a service whose customers' domains lie in the tree."""
    hosts = zip(PLATFORM_NAMES, tree.ours.addresses, strict=True)
    return {
        "PDM_DNS_ROOT_HINTS": tree.hints(),
        "PDM_DNS_ALLOW_PRIVATE": "yes",
        "PDM_NAMESERVERS": ",".join(PLATFORM_NAMES),
        "PDM_NAMESERVER_ADDRESSES": ",".join(f"{name}={address}" for name, address in hosts),
        "PDM_RDAP_URL": "none",
        "PDM_DELEGATION_INTERVAL": "5s",
    }


def client(url: str, key: str) -> httpx.Client:
    """A client by its key."""
    return httpx.Client(base_url=url, headers={"Authorization": f"Bearer {key}"}, trust_env=False, timeout=60)


def _run(stack: Stack, tree: Tree, names: list[str], effort: Effort, run: int) -> tuple[float, float]:
    """Return how long a commit takes alone, and beside the flood, in ms."""
    progress(f"fairness: run {run + 1}")
    powerdns = {"PDM_PDNS_BASE_URL": tree.ours.api_url, "PDM_PDNS_API_KEY": tree.ours.api_key}
    pool = f"f{uuid.uuid4().hex[:6]}.test"
    program = stack.service(stack.database(), pool, **settings(tree), **powerdns, **callers(stack.directory))
    with program.running(), client(program.url, "other") as other, client(program.url, "flood") as flood:
        alone = [_commit(tree, other) for _ in range(effort.pairs)]
        domains = [f"f{number}-{uuid.uuid4().hex[:6]}.{TLD}" for number in range(effort.flooded)]
        for server in tree.tlds:
            Zones(server).patch(TLD, [rr(one, "NS", *(f"{name}." for name in names)) for one in domains])
        for one in domains:
            flood.post("/v1/reserve", json={"mode": "byo-manual", "domain": one}).raise_for_status()
        time.sleep(min(effort.window, 3.0))
        # Its background looks go on by themselves; callers of its own wait for looks as well.
        with ThreadPoolExecutor(8) as threads:
            asked = [threads.submit(flood.get, f"/v1/delegations/{one}?fresh=true") for one in domains]
            beside = [_commit(tree, other) for _ in range(effort.pairs)]
            for unasked in asked:
                unasked.cancel()
    return sorted(alone)[len(alone) // 2], sorted(beside)[len(beside) // 2]


def _commit(tree: Tree, other: httpx.Client) -> float:
    """Return how long it takes to commit a domain whose TXT record is there, in ms."""
    domain = f"c{uuid.uuid4().hex[:10]}.{TLD}"
    tree.old_zone(domain, rr(domain, "A", "192.0.2.1"))
    tree.delegate(domain, OLD_NAMES)
    held = other.post("/v1/reserve", json={"mode": "byo-manual", "domain": domain}).raise_for_status().json()
    challenge = held["challenge"]
    tree.old_patch(domain, rr(challenge["name"], "TXT", f'"{challenge["value"]}"'))
    order = {"fqdn": domain, "reservationToken": held["reservationToken"], "loadBalancerIP": "192.0.2.7"}
    began = time.perf_counter()
    reply = other.post("/v1/commit", json=order)
    took = 1000 * (time.perf_counter() - began)
    if reply.status_code != httpx.codes.OK:
        raise RuntimeError(f"a commit is answered by {reply.status_code} after {took:.0f} ms: {reply.text}")
    return took
