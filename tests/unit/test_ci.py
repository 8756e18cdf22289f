"""The stages of .ci/run."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_test_belongs_to_one_stage() -> None:
    """Each folder of tests is run by exactly one stage, so that all stages are all tests."""
    text = (ROOT / ".ci" / "run").read_text()
    named = re.findall(r"tests/([a-z]+)", text)
    (alike,) = re.findall(r"^    ([a-z |]+)\) echo .tests/\$1", text, re.MULTILINE)
    folders = {path.parent.name for path in (ROOT / "tests").glob("*/test_*.py")}
    assert sorted(folders) == sorted([*named, *alike.split(" | ")])
    assert not list((ROOT / "tests").glob("test_*.py"))
