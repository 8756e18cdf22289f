"""SQL stands in the store, and each of its modules writes its own tables."""

import re
from pathlib import Path

from tests.statements import texts

PACKAGE = Path(__file__).parents[2] / "pdm_service"

OWN = {
    "allocations": {"allocations"},
    "declarations": {"allocations"},  # names that are held by PUT are allocations
    "worklist": {"allocations"},  # what the publisher records of them
    "availability": {"quarantine"},
    "claims": {"claims"},
    "watches": {"watches"},
    "registrar_changes": {"registrar_changes", "undo_sheets"},
    "pool_registrations": {"pool_registrations"},
    "events": {"events"},
}
EXCEPTIONS = {
    ("allocations", "orphans"): "a domain that is released while it points here is noted, in the same transaction",
    ("worklist", "quarantine"): "a name that is removed is kept for its last holder, in the same transaction",
    ("claims", "allocations"): "a proven claim becomes an allocation, and a better proof evicts a holder",
    ("claims", "watches"): "a claim's delegation is watched from the moment that it is opened",
    ("claims", "orphans"): "a proof clears the note that a domain was released while it pointed here",
    ("watches", "allocations"): "an observation announces the DS, or asks for the registrar's token",
    ("registrar_changes", "allocations"): "what a change needs of its caller follows from its outcome",
}


def written() -> set[tuple[str, str]]:
    """Module and table of each statement that writes."""
    verbs = r"\b(?:INSERT INTO|DELETE FROM|UPDATE)\s+(?!SET\b)([a-z_]+)"
    return {
        (file.stem, table)
        for file in (PACKAGE / "store").glob("*.py")
        for text in texts(file.read_text())
        for table in re.findall(verbs, text)
    }


def test_each_module_writes_its_own_tables_and_the_audit_trail() -> None:
    """What else a module writes is listed, with its reason; and nothing is listed that is not done."""
    own = {(module, table) for module, tables in OWN.items() for table in tables}
    foreign = {(module, table) for module, table in written() - own if table != "events"}
    assert foreign == set(EXCEPTIONS)
    assert own <= written()


def test_no_statement_stands_outside_the_store() -> None:
    """Nobody else speaks SQL, but for the development servers."""
    statement = re.compile(r"\s*(?:SELECT\s|INSERT INTO\s|UPDATE\s+\w+\s+SET\s|DELETE FROM\s|WITH\s+\w+\s+AS\s)")
    found = {
        str(file.relative_to(PACKAGE))
        for file in PACKAGE.rglob("*.py")
        if file.parent.name not in {"store", "dev"} and any(map(statement.match, texts(file.read_text())))
    }
    assert found == set()
