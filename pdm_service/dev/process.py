"""Starting, stopping, killing and freezing a server as a child process that never outlives us.

Linux only. How a server is configured and when it counts as ready is left to the subclasses of `Process`.
"""

import ctypes
import os
import pwd
import shutil
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from time import monotonic, sleep
from typing import Any, NamedTuple, Self

_POLL_SECONDS = 0.01
_KILL_SECONDS = 15.0
_LOG_TAIL_BYTES = 3000
_SERVER_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True)

# The kernel sends the parent-death signal when the *thread* that started the child ends, so all
# children are started by one thread that lives as long as the interpreter.
_STARTER = ThreadPoolExecutor(1, thread_name_prefix="server-starter")


class ServerFailed(Exception):
    """A server did not start, or a program that it needs is missing; the text ends with its log's tail."""


class Account(NamedTuple):
    """An account of the operating system."""

    name: str
    uid: int
    gid: int


def account() -> Account | None:
    """Give the unprivileged account that servers run as when we are root, None when we are not.

    Raises ServerFailed when root has neither an account `postgres` nor `nobody`.
    """
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(name, entry.pw_uid, entry.pw_gid)
    raise ServerFailed("there is no unprivileged account (postgres or nobody) to run servers as")


def find_program(name: str) -> Path:
    """Find a server's program, also in the sbin directories. Raises ServerFailed when it is missing."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:{_SERVER_PATH}")
    if found is None:
        raise ServerFailed(f"{name} is not installed; scripts/setup installs it")
    return Path(found)


def wait_until(condition: Callable[[], bool], deadline_seconds: float) -> bool:
    """Ask again and again until the condition holds; False when the deadline passes first."""
    deadline = monotonic() + deadline_seconds
    while not condition():
        if monotonic() > deadline:
            return False
        sleep(_POLL_SECONDS)
    return True


def _states() -> dict[int, tuple[str, int]]:
    """State letter and parent of every process that has not ended."""
    found = {}
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            text = Path("/proc", entry, "stat").read_text(errors="replace")
        except OSError:
            continue
        state, parent = text.rpartition(")")[2].split()[:2]
        # Where nothing reaps orphans, a zombie stays and means nothing.
        if state not in "ZX":
            found[int(entry)] = (state, int(parent))
    return found


def descendants(root: int) -> list[int]:
    """List the living children of a process, their children and so on.

    PostgreSQL's backends lead sessions of their own, so no process group holds them all.
    """
    parents = {pid: parent for pid, (_, parent) in _states().items()}
    found = [root]
    for member in found:
        found += [pid for pid, parent in parents.items() if parent == member]
    return found[1:]


def _send(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def end_with_parent(number: signal.Signals = signal.SIGKILL) -> None:
    """Have the kernel send us a signal when the thread that started us ends."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, number)


def _die_with_parent(parent: int, number: signal.Signals) -> None:
    # Runs in the child after the change of user, which would clear the setting.
    end_with_parent(number)
    if os.getppid() != parent:
        os._exit(1)


def start_child(
    command: Sequence[str | Path], *, on_our_death: signal.Signals = signal.SIGKILL, **options: Any
) -> subprocess.Popen[Any]:
    """Start a program with the options of Popen; it gets `on_our_death` when we end in whatever way.

    Raises OSError or subprocess.SubprocessError when it cannot be executed.
    """
    die_with_us = partial(_die_with_parent, os.getpid(), on_our_death)

    def start() -> subprocess.Popen[Any]:
        return subprocess.Popen(
            [str(word) for word in command],
            preexec_fn=die_with_us,  # noqa: PLW1509 - two system calls, no lock that a thread may hold
            **options,
        )

    return _STARTER.submit(start).result()


def spawn(
    command: Sequence[str | Path],
    directory: Path,
    log: Path,
    *,
    on_our_death: signal.Signals = signal.SIGKILL,
    environment: Mapping[str, str] | None = None,
    as_ourselves: bool = False,
) -> subprocess.Popen[bytes]:
    """Start a program in its own process group, as `account()` unless `as_ourselves`, writing to `log`.

    It gets `on_our_death` when we end in whatever way. Raises ServerFailed when it cannot be executed.
    """
    who = None if as_ourselves else account()
    with log.open("ab") as output:
        try:
            return start_child(
                command,
                on_our_death=on_our_death,
                cwd=directory,
                # Nothing of ours leaks into a server: no PG* variables, no locale, no proxies.
                env=environment or {"PATH": _SERVER_PATH, "LC_ALL": "C"},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                # Not a session of its own: only within our session does the kernel wake a frozen group
                # whose parent has died, so that it can obey the signal.
                process_group=0,
                user=who.uid if who else None,
                group=who.gid if who else None,
                extra_groups=[] if who else None,
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise ServerFailed(f"{command[0]} cannot be executed: {error}") from error


class Process:
    """One server in its directory. `start` belongs to the subclass; the rest is alike for all.

    As a context manager it starts on entry and stops on exit.
    """

    name: str
    polite_signal: signal.Signals = signal.SIGTERM
    on_our_death: signal.Signals = signal.SIGKILL

    def __init__(self, directory: Path) -> None:
        # The server works in its directory, so a relative path would mean something else to it.
        self.directory = directory.absolute()
        self.log = self.directory / f"{self.name}.log"
        self._log_start = 0
        self._child: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start the server and return when it answers. Raises ServerFailed when it does not."""
        raise NotImplementedError

    @property
    def pid(self) -> int | None:
        """The server's process id while it runs (also frozen), else None."""
        return self._child.pid if self._child is not None and self._child.poll() is None else None

    def stop(self, deadline_seconds: float = 15.0) -> None:
        """Ask the server to end, kill it after the deadline; nothing happens when it does not run."""
        if self.pid is None or self._child is None:
            return
        self.thaw()
        _send(self._child.pid, self.polite_signal)
        try:
            self._child.wait(deadline_seconds)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """SIGKILL the server and all its children at once, and wait until they are gone."""
        if self.pid is None or self._child is None:
            return
        # Frozen first, so that nothing is forked between the listing and the killing.
        self.freeze()
        children = descendants(self._child.pid)
        os.killpg(self._child.pid, signal.SIGKILL)
        for pid in children:
            _send(pid, signal.SIGKILL)
        self._child.wait(_KILL_SECONDS)
        wait_until(lambda: not _states().keys() & set(children), _KILL_SECONDS)

    def freeze(self) -> None:
        """SIGSTOP the server and all its children: connections stay open and nothing is answered."""
        pid = self.pid
        if pid is None:
            return
        os.killpg(pid, signal.SIGSTOP)
        wait_until(lambda: _states().get(pid, ("T", 0))[0] == "T", _KILL_SECONDS)
        for child in descendants(pid):
            _send(child, signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT the server and all its children; nothing happens when they are not frozen."""
        pid = self.pid
        if pid is None:
            return
        for child in descendants(pid):
            _send(child, signal.SIGCONT)
        os.killpg(pid, signal.SIGCONT)

    def _prepare_directory(self) -> None:
        """Make the directory and give it (not its parents) to the account."""
        who = account()
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            if who is not None:
                os.chown(self.directory, who.uid, who.gid)
            self.directory.chmod(0o700)
        except PermissionError as error:
            raise ServerFailed(f"{self.directory} belongs to another account") from error

    def _write_private(self, name: str, text: str) -> Path:
        """Write a file that only the account (and root) can read; whole or not at all."""
        path = self.directory / name
        unfinished = path.with_name(f"{name}.new")
        unfinished.unlink(missing_ok=True)
        with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            if (who := account()) is not None:
                os.fchown(file.fileno(), who.uid, who.gid)
            file.write(text)
        return unfinished.rename(path)

    def _spawn(self, command: Sequence[str | Path]) -> None:
        if self.pid is not None:
            raise ServerFailed(f"{self.name} runs already")
        self._mark_log()
        self._child = spawn(command, self.directory, self.log, on_our_death=self.on_our_death)

    def _await_ready(self, answers: Callable[[], bool], deadline_seconds: float) -> None:
        """Wait until the server answers; else kill it and raise ServerFailed."""
        settled = wait_until(lambda: self.pid is None or answers(), deadline_seconds)
        if settled and self.pid is not None:
            return
        ended = self.pid is None
        self.kill()
        raise self._failure("ended" if ended else f"does not answer after {deadline_seconds:.0f} s")

    def _mark_log(self) -> None:
        self._log_start = self.log.stat().st_size if self.log.exists() else 0

    def _failure(self, what: str) -> ServerFailed:
        with self.log.open("rb") as file:
            file.seek(self._log_start)
            tail = file.read()[-_LOG_TAIL_BYTES:].decode(errors="replace").strip()
        return ServerFailed(f"{self.name} {what}; {self.log} says:\n{tail}")
