"""Not collected by itself: a test that hangs with all kinds of processes below it, to be interrupted."""

import os
import signal
from pathlib import Path

from tests.image.conftest import Podman
from tests.service import Service
from tests.tree import Tree


def test_hanging(service: Service, tree: Tree, directory: Path) -> None:
    """Wait to be interrupted, with servers, and with a program that is nobody's child."""
    place = directory / "podman"
    place.mkdir()
    Podman(place).run("sh", "-c", "setsid sleep 600 >/dev/null 2>&1 </dev/null &")
    Path(os.environ["PDM_TEST_SIGN"]).write_text(str(os.getpid()))
    while True:
        signal.pause()
