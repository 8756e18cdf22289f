"""Ports for servers on loopback."""

import random
import socket
from threading import Lock

# Below the kernel's usual ephemeral range (from 32768), so that no outgoing connection takes the port of
# a server while it is being restarted.
_PORTS = range(15000, 32700)
_BLOCK = 100
_lock = Lock()
_claims: list[socket.socket] = []
_left: list[int] = []


def free_port() -> int:
    """Give a port that is free on 127.0.0.1 for both TCP and UDP; never the same one twice.

    No other process on this machine that asks here gets it either, as long as this one lives. Raises
    RuntimeError when all ports are in use.
    """
    with _lock:
        while True:
            if not _left:
                _left.extend(_claimed_block())
            port = _left.pop()
            if _is_free(port):
                return port


def _claimed_block() -> list[int]:
    """Claim some ports for this process, and return them in random order."""
    starts = list(range(_PORTS.start, _PORTS.stop, _BLOCK))
    for start in random.sample(starts, len(starts)):
        # A name in the abstract namespace belongs to one process, and the kernel takes it away with the process.
        claim = socket.socket(socket.AF_UNIX)
        try:
            claim.bind(f"\0pdm-ports-{start}")
        except OSError:
            claim.close()
            continue
        _claims.append(claim)
        return random.sample(range(start, start + _BLOCK), _BLOCK)
    raise RuntimeError(f"all ports from {_PORTS.start} to {_PORTS.stop - 1} are in use")


def _is_free(port: int) -> bool:
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(socket.AF_INET, kind) as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                return False
    return True
