"""docs/security.md: each promise names a test that exists."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_each_promise_has_its_test() -> None:
    """The last column of each row names files of tests; one without a folder lies in the folder before it."""
    rows = [line for line in (ROOT / "docs/security.md").read_text().splitlines() if line.startswith("| ")][2:]
    assert len(rows) > 8
    for row in rows:
        named = re.findall(r"`([\w/]+\.py)`", row.split("|")[-2])
        assert named, row
        folder = Path()
        for one in named:
            folder = Path(one).parent if "/" in one else folder
            assert (ROOT / folder / Path(one).name).is_file(), (one, row)
