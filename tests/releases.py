"""Earlier releases of the code, taken from the repository's history."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("pdm_service", "adapters", "migrations")
HOUSE = "pdm_service/telemetry/__init__.py"
"""Came when modules went into rooms, and values got other shapes."""


def before(directory: Path, file: str) -> Path:
    """The code as it was before a file came; skips where the history is not there."""
    added = git("log", "--format=%H", "--diff-filter=A", "--", file).split()
    if not added or not git("rev-parse", "--verify", "--quiet", f"{added[-1]}^"):
        pytest.skip(f"the repository's history does not reach to before {file}")
    archive = directory / "before.tar"
    git("archive", "--output", str(archive), f"{added[-1]}^", *PACKAGES)
    made = directory / "before"
    made.mkdir()
    shutil.unpack_archive(archive, made, filter="data")
    return made


def git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True).stdout
