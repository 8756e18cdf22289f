"""Packages that bring adapters: the example, installed as people install it, and some that are broken."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from adapters.conformance.played import Server
from tests.patience import patient

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "examples" / "pdm-registrar-gandi"


def install(directory: Path, *sources: Path) -> Path:
    """Build packages and install them into a directory, which then goes on PYTHONPATH; asks no registry."""
    options = ["--no-index", "--no-deps", "--no-build-isolation", "--no-cache-dir", "--disable-pip-version-check", "-q"]
    command = [sys.executable, "-m", "pip", "install", *options, "--target", str(directory), *map(str, sources)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=patient(90))
    assert done.returncode == 0, done.stderr
    return directory


def play_gandi(installed: Path) -> Server:
    """Gandi, as the example's own tests play it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [*sys.path, str(installed), str(EXAMPLE / "tests")])
        from played_gandi import PlayedGandi  # noqa: PLC0415 - it is there from here on

        return PlayedGandi()


def broken(directory: Path, point: str, code: str = "", name: str = "broken-adapter") -> Path:
    """A package as it is once installed: one module, and an entry point of it."""
    module = name.replace("-", "_")
    (directory / f"{module}.py").write_text(code)
    info = directory / f"{module}-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text(f"[pool_domain_manager.registrars]\n{point}\n")
    return directory


def environment(*path: Path) -> dict[str, str]:
    """What a command is started with so that packages there are installed for it."""
    return {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(map(str, path))}
