"""How tests are spread over the processes that run them at the same time.

The files of `SPLIT` are spread test by test, since each of their tests has servers of its own; any other file stays
together in one process, which makes what its tests share once. pytest-xdist's own groups do not work with all
versions of pytest: they are marks, which the process that spreads the tests does not see.
"""

import os
import signal
from pathlib import PurePosixPath
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

from pdm_service.dev.process import end_with_parent
from tests import patience
from tests.patience import patient

# A test that takes longer on a quiet machine hangs; a mark `timeout` says otherwise.
TEST_SECONDS = 180.0

SPLIT = {"acceptance", "byo", "commands", "integration"}
# Of these there is one on a machine, so tests that need it would only wait for each other.
TOGETHER = {"tests/charts/test_deployment.py": "port 8080", "tests/dev/test_stack.py": "port 8080"}
# What takes long begins early, so that all processes are done at about the same time; small things fill the gaps.
ORDER = (
    "tests/image/test_image.py", "tests/observability/test_prometheus.py", "tests/api/test_slow_clients.py",
    "tests/acceptance", "tests/dev", "tests/charts", "tests/byo", "tests/api", "tests/integration", "tests",
)  # fmt: skip


def group(test: str) -> str:
    """What stays together with a test, given by its id."""
    path = test.partition("::")[0]
    return test if PurePosixPath(path).parent.name in SPLIT else TOGETHER.get(path, path)


def rank(test: str) -> int:
    return next((number for number, start in enumerate(ORDER) if test.startswith(start)), len(ORDER))


class Scheduling(LoadScopeScheduling):
    """Hands out groups in the order of collection, one after the other, to whichever process is free."""

    def _split_scope(self, nodeid: str) -> str:
        return group(nodeid)


def pytest_configure(config: pytest.Config) -> None:
    """Be ended well by SIGTERM, too. Measure how slow the machine is, once; the environment tells the other processes."""
    if hasattr(config, "workerinput"):
        end_with_parent()
        return
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if not os.environ.get(patience.VARIABLE):
        processes = len(config.getoption("tx", None) or [""])
        os.environ[patience.VARIABLE] = str(patience.measured(processes))


def pytest_xdist_auto_num_workers() -> int:
    """Tests wait much of their time, so there are three for two cores."""
    return max(2, len(os.sched_getaffinity(0)) * 3 // 2)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Scheduling:
    config.option.loadscopereorder = False
    return Scheduling(config, log)


def pytest_report_header() -> str:
    return f"deadlines: {patient(1):g} times those of a quiet machine ({patience.VARIABLE})"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order the tests, and give each its deadline."""
    items.sort(key=lambda item: rank(item.nodeid))
    for item in items:
        own = item.get_closest_marker("timeout")
        item.add_marker(pytest.mark.timeout(patient(own.args[0] if own else TEST_SECONDS)), append=False)
