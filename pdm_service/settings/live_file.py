"""Files whose contents may change while the service runs: read again when they do, at the next use."""

import logging
from collections.abc import Callable, Sequence
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


class LiveFiles(Generic[T]):
    """What files that belong together say now.

    A version that makes no sense is logged, and the one before stays in force.
    """

    def __init__(self, paths: Sequence[Path], read: Callable[[], T], observe: Callable[[bool], None]) -> None:
        """Read the files; raises OSError, ValueError. `observe` gets, after each reading, whether it was usable."""
        self._paths, self._read, self._observe = paths, read, observe
        self._seen = self._stamp()
        self._value = read()
        self._next = monotonic() + _PAUSE_SECONDS
        observe(True)

    def __call__(self) -> T:
        """Return what the files say, checking them once a second at most."""
        if (now := monotonic()) >= self._next:
            self._next = now + _PAUSE_SECONDS
            self._look()
        return self._value

    def _look(self) -> None:
        try:
            if (stamp := self._stamp()) == self._seen:
                self._observe(True)  # it may have been away for a moment
                return
            self._value = self._read()
            self._seen = stamp
            logs.event(_log, logging.INFO, "file read again", {"file": self._names})
            self._observe(True)
        except (OSError, ValueError) as error:
            text = error.strerror if isinstance(error, OSError) else str(error)
            logs.event(_log, logging.ERROR, "file not usable", {"file": self._names, "error": text})
            self._observe(False)

    @property
    def _names(self) -> str:
        return ", ".join(path.name for path in self._paths)

    def _stamp(self) -> list[tuple[int, int, int]]:
        found = [path.stat() for path in self._paths]
        return [(one.st_mtime_ns, one.st_size, one.st_ino) for one in found]


class LiveFile(LiveFiles[T]):
    """What one file says now."""

    def __init__(self, path: Path, parse: Callable[[str], T], observe: Callable[[bool], None]) -> None:
        """Read the file; raises OSError, ValueError. `observe` gets, after each reading, whether it was usable."""
        super().__init__((path,), lambda: content(path, parse), observe)
