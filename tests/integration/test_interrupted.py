"""A run of tests that is interrupted leaves nothing."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from pdm_service.dev.process import descendants, start_child
from tests.eventually import eventually
from tests.patience import patient
from tests.service import PDM

ROOT = Path(__file__).parents[2]
HANGING = "tests/hanging.py"
needs_namespaces = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("unshare") is None, reason="only root has namespaces and port 53"
)
Interruption = Callable[[int, int], None]


def ctrl_c(run: int, _: int) -> None:
    os.killpg(run, signal.SIGINT)


def sigterm(run: int, _: int) -> None:
    os.kill(run, signal.SIGTERM)


def kill(run: int, _: int) -> None:
    os.kill(run, signal.SIGKILL)


def kill_worker(_: int, worker: int) -> None:
    os.kill(worker, signal.SIGKILL)


def alive(pid: int) -> bool:
    """Whether a process exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


@needs_namespaces
@pytest.mark.parametrize(
    ("interrupt", "processes"), [(ctrl_c, 1), (sigterm, 1), (kill, 1), (kill_worker, 1), (ctrl_c, 0), (kill, 0)]
)
def test_interrupted_run_leaves_no_process(interrupt: Interruption, processes: int, tmp_path: Path) -> None:
    """However a run ends, all that it has started ends: servers, the service, and what has moved to the background."""
    sign = tmp_path / "sign"
    place = Path(tempfile.mkdtemp(prefix="pdm-interrupted-"))
    place.chmod(0o711)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "no:cacheprovider",
        "--max-worker-restart=0",
        f"-n{processes}",
        HANGING,
    ]
    environment = {**os.environ, "PDM_TEST_SIGN": str(sign), "TMPDIR": str(place)}
    with (tmp_path / "out").open("wb") as out:
        run = start_child(command, cwd=ROOT, env=environment, stdout=out, stderr=subprocess.STDOUT, process_group=0)
    try:
        worker = int(eventually(lambda: sign.exists() and sign.read_text(), 60, (tmp_path / "out").read_text()))
        family = [pid for pid in descendants(run.pid) if alive(pid)]
        told = " ".join(Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ") for pid in family)
        assert all(part in told for part in ("postgres", "pdns_server", "unbound", f"{PDM} serve", "sleep 600"))
        interrupt(run.pid, worker)
        assert run.wait(patient(30)) != 0
        eventually(lambda: not [pid for pid in family if alive(pid)], 10, "all processes to end")
        # A process that is killed cannot take its files away.
        assert interrupt in {kill, kill_worker} or not list(place.glob("pdm-*"))
    finally:
        run.kill()
        run.wait()
        shutil.rmtree(place, ignore_errors=True)
