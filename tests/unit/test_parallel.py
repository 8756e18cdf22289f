"""What tests that run at the same time share, and what they don't."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.parallel import ORDER, SPLIT, TOGETHER, group
from tests.patience import VARIABLE, patient, patient_setting

ROOT = Path(__file__).parents[2]
HOLDING = """
import sys
from pdm_service.dev.ports import free_port

print(*(free_port() for _ in range(3000)), flush=True)
sys.stdin.read()
"""


def test_ports_are_one_processs_alone() -> None:
    """Processes that run at the same time are never given the same port."""
    with (
        subprocess.Popen(
            [sys.executable, "-c", HOLDING], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as one,
        subprocess.Popen(
            [sys.executable, "-c", HOLDING], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as two,
    ):
        assert one.stdout is not None
        assert two.stdout is not None
        assert not set(one.stdout.readline().split()) & set(two.stdout.readline().split())


@pytest.mark.parametrize(
    ("test", "stays_with"),
    [
        ("tests/api/test_policy.py::test_x[a::b]", "tests/api/test_policy.py"),
        ("tests/byo/test_api.py::test_x[a]", "tests/byo/test_api.py::test_x[a]"),
        ("tests/dev/test_stack.py::test_x", "port 8080"),
        ("tests/charts/test_deployment.py::test_x", "port 8080"),
    ],
)
def test_what_stays_together(test: str, stays_with: str) -> None:
    """A file stays together, unless its folder is spread; those that need the same port stay together too."""
    assert group(test) == stays_with


def test_names_of_tests_exist() -> None:
    """The files and folders that the spreading names are there, and no spread one shares a fixture in a file."""
    assert all((ROOT / path).exists() for path in (*ORDER, *TOGETHER))
    spread = [path for folder in SPLIT for path in (ROOT / "tests" / folder).glob("*.py")]
    assert spread
    assert not [path for path in spread if 'scope="module"' in path.read_text()]


@pytest.mark.parametrize(("factor", "seconds", "setting"), [("", 4, "4s"), ("1", 4, "4s"), ("2.6", 10.4, "11s")])
def test_patience(monkeypatch: pytest.MonkeyPatch, factor: str, seconds: float, setting: str) -> None:
    """Deadlines are multiplied by the factor; a setting is rounded up, since the service takes whole seconds."""
    monkeypatch.setenv(VARIABLE, factor)
    assert patient(4) == pytest.approx(seconds)
    assert patient_setting(4) == setting
