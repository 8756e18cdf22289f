"""What changes who has a pool name stands in the audit trail: memory follows the trail, and sees nothing else."""

import re
from pathlib import Path

import pytest

from tests.statements import texts

ROOT = Path(__file__).parents[2]
STATEMENTS = {
    text for path in sorted((ROOT / "pdm_service" / "store").glob("*.py")) for text in texts(path.read_text("utf-8"))
}
READ = re.compile(r"\b(?:state|owner|tenant|expires_at|subdomain|pool_domain|until)\s*=")
CHANGES = re.compile(r"\b(?:INSERT INTO|DELETE FROM|UPDATE) (?:allocations|quarantine)\b")
UNNOTED = {
    "DELETE FROM quarantine WHERE until < now()": "what has ended is taken no more",
}


def concerns(text: str) -> bool:
    """Whether a statement changes what decides whether a name is taken."""
    for match in CHANGES.finditer(text):
        rest = re.split(r"\bWHERE\b|\bFROM [ab]\b", text[match.end() :], maxsplit=1)[0]
        if "UPDATE" not in match[0] or READ.search(rest):
            return True
    return False


CONCERNED = sorted(text for text in STATEMENTS if concerns(text))


def test_statements_are_found() -> None:
    """Statements that change what is read count, leases and the like do not."""
    assert len(CONCERNED) >= 12
    assert concerns("WITH a AS (UPDATE allocations SET lease = 1, expires_at = now() WHERE b) SELECT 1")
    assert not concerns("UPDATE allocations SET due_at = now() WHERE state = 'active'")


@pytest.mark.parametrize("text", CONCERNED, ids=lambda text: " ".join(text.split())[:60])
def test_it_is_noted(text: str) -> None:
    """The same statement appends to the trail."""
    assert "INSERT INTO events" in text or " ".join(text.split()) in UNNOTED
