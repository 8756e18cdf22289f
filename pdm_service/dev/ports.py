"""Ports for servers on loopback."""

import random
import socket

# Below the kernel's usual ephemeral range (from 32768), so that no outgoing connection takes the port of
# a server while it is being restarted.
_PORTS = range(15000, 32768)
_given_ports: set[int] = set()


def free_port() -> int:
    """Give a port that is free on 127.0.0.1 for both TCP and UDP; never the same one twice."""
    while True:
        port = random.choice(_PORTS)
        if port not in _given_ports and _is_free(port):
            _given_ports.add(port)
            return port


def _is_free(port: int) -> bool:
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(socket.AF_INET, kind) as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                return False
    return True
