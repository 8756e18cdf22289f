"""The client's types are its users' too: a program of theirs is checked as strictly as ours."""

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parents[1] / "typing" / "client_program.py"


def mypy(directory: Path, text: str) -> subprocess.CompletedProcess[str]:
    """Check a program in a directory of its own, where only what is installed is known."""
    (directory / "program.py").write_text(text)
    command = [
        sys.executable,
        "-m",
        "mypy",
        "--strict",
        "--config-file=",
        "--cache-dir",
        str(directory / "cache"),
        "program.py",
    ]
    return subprocess.run(command, cwd=directory, capture_output=True, text=True)


def test_a_callers_program_passes_without_ignores(tmp_path: Path) -> None:
    """`mypy --strict` finds nothing, and the types of replies and errors are known."""
    text = PROGRAM.read_text()
    assert "ignore" not in text
    checked = mypy(tmp_path, text)
    assert checked.returncode == 0, checked.stdout


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("made.dns.state", "made.dns.status"),
        ("ttl_seconds=600", 'ttl_seconds="600"'),
        ("error.problems", "error.findings"),
    ],
)
def test_a_mistake_is_found(tmp_path: Path, right: str, wrong: str) -> None:
    """A field that does not exist, or a value of another type, is told."""
    text = PROGRAM.read_text()
    assert right in text
    assert mypy(tmp_path, text.replace(right, wrong)).returncode == 1
