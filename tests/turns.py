"""What a machine has only once, such as port 8080 of 127.0.0.1, is used by one test at a time."""

import contextlib
import socket
from collections.abc import Iterator

from tests.eventually import eventually

_SECONDS = 100.0


@contextlib.contextmanager
def turn(what: str) -> Iterator[None]:
    """Have something for ourselves, also among the tests of other runs on this machine; wait for it."""
    # A name in the abstract namespace belongs to one process, and the kernel takes it away with the process.
    with socket.socket(socket.AF_UNIX) as claim:

        def claimed() -> bool:
            with contextlib.suppress(OSError):
                claim.bind(f"\0pdm-tests-{what}")
                return True
            return False

        eventually(claimed, _SECONDS, f"other tests to be done with {what}")
        yield
