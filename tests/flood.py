"""A client that floods with domains whose nameservers are silent, beside another one; for tests and the benchmark."""

import hashlib
import json
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.tree import PLATFORM_NAMES, TLD, Tree, Zones, rr

HOSTS, ADDRESSES = 13, 4


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
