"""A file whose contents may change while the service runs: read again when it does, at the next use."""

import logging
from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import Generic, TypeVar

from pdm_service.telemetry import logs

T = TypeVar("T")

_log = logging.getLogger(__name__)
_PAUSE_SECONDS = 1.0
_MAX_BYTES = 4 * 1024 * 1024


def content(path: Path, parse: Callable[[str], T]) -> T:
    """Return what a file says; raises OSError, ValueError."""
    with path.open("rb") as file:
        found = file.read(_MAX_BYTES + 1)
    if len(found) > _MAX_BYTES:
        raise ValueError(f"is longer than {_MAX_BYTES} bytes")
    return parse(found.decode())


class LiveFile(Generic[T]):
    """What a file says now. A version that makes no sense is logged, and the one before stays in force."""

    def __init__(self, path: Path, parse: Callable[[str], T], observe: Callable[[bool], None]) -> None:
        """Read the file; raises OSError, ValueError. `observe` gets, after each reading, whether it was usable."""
        self._path, self._parse, self._observe = path, parse, observe
        self._seen = self._stamp()
        self._value = content(path, parse)
        self._next = monotonic() + _PAUSE_SECONDS
        observe(True)

    def __call__(self) -> T:
        """Return what the file says, checking it once a second at most."""
        if (now := monotonic()) >= self._next:
            self._next = now + _PAUSE_SECONDS
            self._look()
        return self._value

    def _look(self) -> None:
        try:
            if (stamp := self._stamp()) == self._seen:
                self._observe(True)  # it may have been away for a moment
                return
            self._value = content(self._path, self._parse)
            self._seen = stamp
            fields: dict[str, object] = {"file": self._path.name}
            logs.event(_log, logging.INFO, "file read again", fields)
            self._observe(True)
        except (OSError, ValueError) as error:
            text = error.strerror if isinstance(error, OSError) else str(error)
            logs.event(_log, logging.ERROR, "file not usable", {"file": self._path.name, "error": text})
            self._observe(False)

    def _stamp(self) -> tuple[int, int, int]:
        found = self._path.stat()
        return found.st_mtime_ns, found.st_size, found.st_ino
