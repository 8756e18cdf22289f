"""Who writes which table: each module of the store its own and the audit trail; what else it writes has a reason."""

import ast
import re
from pathlib import Path

import pytest

from tests.statements import texts

ROOT = Path(__file__).parents[2]
MODULES = {path.stem: path for path in (ROOT / "pdm_service" / "store").glob("*.py")}
OWN = {
    "allocations": {"allocations"},
    "availability": {"quarantine"},
    "claims": {"claims"},
    "events": set[str](),  # the trail is everybody's
    "pool_registrations": {"pool_registrations"},
    "registrar_changes": {"registrar_changes", "undo_sheets"},
    "watches": {"watches"},
    "worklist": {"late_calls", "parent_zones"},
}
BEYOND = {
    ("allocations", "INSERT", "orphans"): "a domain that is released while it points here becomes an orphan",
    ("claims", "DELETE", "orphans"): "a strong proof, or a domain seen elsewhere, ends what is remembered of it",
    ("claims", "INSERT", "allocations"): "a proven claim becomes an allocation",
    ("claims", "DELETE", "allocations"): "a holder by a weak proof gives way to a strong one",
    ("claims", "UPDATE", "allocations"): "what is held below a domain goes out of DNS when its owner says so",
    ("claims", "INSERT", "orphans"): "what is sent away may still point here",
    ("claims", "INSERT", "watches"): "the delegation of a domain that is claimed, or adopted, is observed at once",
    ("declarations", "INSERT", "allocations"): "a declared name is an allocation",
    ("declarations", "UPDATE", "allocations"): "a declared name is an allocation",
    ("lost", "INSERT", "allocations"): "an operator takes back what the database has lost",
    ("lost", "DELETE", "allocations"): "an operator ends the reservation that stands in the way of that",
    ("worklist", "UPDATE", "allocations"): "the publisher leases rows, and records what came of them",
    ("worklist", "INSERT", "allocations"): "a name in DNS that nobody holds is condemned",
    ("worklist", "DELETE", "allocations"): "a name that DNS has no more is free",
    ("worklist", "INSERT", "quarantine"): "a name that DNS has no more is kept for its last holder",
    ("registrar_changes", "UPDATE", "allocations"): "what became of a change says what is needed of the caller",
    ("watches", "UPDATE", "allocations"): "a domain that is live announces its DS",
}
WRITES = re.compile(r"\b(INSERT)\s+INTO\s+(\w+)|(?<!DO )(?<!FOR )\b(UPDATE)\s+(\w+)|\b(DELETE)\s+FROM\s+(\w+)")


def written(source: str) -> set[tuple[str, str]]:
    """Which verbs of SQL a module has, and for which tables."""
    found = (match.groups() for text in texts(source) for match in WRITES.finditer(text))
    return {(one[0] or one[2] or one[4], one[1] or one[3] or one[5]) for one in found} - {("UPDATE", "SET")}


ALL = {(name, *write) for name, path in MODULES.items() for write in written(path.read_text("utf-8"))}


def test_statements_are_found() -> None:
    """Writes are found in plain and in formatted strings, wherever a line is broken; locks and upserts are none."""
    source = (
        'a = f"""WITH x AS (DELETE\n FROM b WHERE {c}) INSERT INTO d SELECT 1 ON CONFLICT (e) DO UPDATE SET f = 1"""'
    )
    assert written(source + "\ng = 'SELECT h FROM i FOR UPDATE SKIP LOCKED'") == {("DELETE", "b"), ("INSERT", "d")}
    assert written("a = 'UPDATE b AS c SET d = 1'") == {("UPDATE", "b")}


def test_each_module_writes_its_own_table() -> None:
    """A module writes its own table and the trail; whatever else it writes is named above, with its reason."""
    beyond = {write for write in ALL if write[2] != "events" and write[2] not in OWN.get(write[0], set())}
    assert beyond - set(BEYOND) == set(), "written without a reason"
    assert set(BEYOND) - beyond == set(), "a reason for what is not written any more"


def test_the_trail_is_never_changed() -> None:
    """Entries are appended, and in time forgotten by the trail itself; no statement changes one."""
    assert {write for write in ALL if write[2] == "events" and write[1] != "INSERT"} == {("events", "DELETE", "events")}


def statements(source: str, connections: str) -> list[str]:
    """The texts of the statements that go through `_database`, or its `writing`; of names their values."""
    tree = ast.parse(source)
    named = {
        ast.unparse(target): ast.unparse(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
    }
    found = []
    for node in ast.walk(tree):
        match node:
            case ast.Call(
                func=ast.Attribute(value=ast.Attribute(attr=through), attr="row" | "rows" | "execute"),
                args=[statement, *_],
            ) if through == connections:
                text = ast.unparse(statement)
                found.append(" ".join(texts(named.get(text, text))))
    return found


@pytest.mark.parametrize("module", sorted(MODULES))
def test_writes_have_connections_of_their_own(module: str) -> None:
    """What writes goes through `writing`, whose connections are few and kept; what only reads never waits there."""
    source = MODULES[module].read_text("utf-8")
    assert [text for text in statements(source, "_database") if WRITES.search(text)] == []
    # A function that is given its statement has no text of it.
    assert [text for text in statements(source, "writing") if text and not WRITES.search(text)] == []


def test_statements_are_found_by_their_connections() -> None:
    """A statement is found with the connections that it goes through, also where it has a name."""
    source = "A: str = f'DELETE FROM b {c}'\nself._database.row(A)\nself._database.writing.rows('SELECT 1', 2)"
    assert statements(source, "_database") == ["DELETE FROM b "]
    assert statements(source, "writing") == ["SELECT 1"]


def test_no_statement_stands_outside_the_store() -> None:
    """Nobody else speaks SQL, but for the development servers."""
    statement = re.compile(r"\s*(?:SELECT\s|INSERT INTO\s|UPDATE\s+\w+\s+SET\s|DELETE FROM\s|WITH\s+\w+\s+AS\s)")
    found = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "pdm_service").rglob("*.py")
        if path.parent.name not in {"store", "dev"} and any(map(statement.match, texts(path.read_text("utf-8"))))
    }
    assert found == set()


def test_only_the_store_writes() -> None:
    """No module outside the store has a statement that writes a table of ours."""
    tables = {table for _, _, table in ALL}
    assert tables >= {"allocations", "claims", "quarantine", "orphans", "watches", "undo_sheets", "events"}
    outside = {
        (str(path.relative_to(ROOT)), *write)
        for path in (ROOT / "pdm_service").rglob("*.py") if path.parent.name != "store"
        for write in written(path.read_text("utf-8")) if write[1] in tables
    }  # fmt: skip
    assert outside == set()


SCHEMA = (ROOT / "migrations" / "schema.sql").read_text("utf-8")
TABLES = {table: comment for comment, table in re.findall(r"((?:^--.*\n)+)CREATE TABLE (\w+)", SCHEMA, re.MULTILINE)}


@pytest.mark.parametrize(("verb", "word"), [("INSERT", "Inserted"), ("DELETE", "Deleted")])
def test_the_schema_says_who_writes(verb: str, word: str) -> None:
    """The schema's comments name for each table the modules that insert and delete its rows, and no others."""
    for table, comment in TABLES.items():
        if (table, verb) == ("events", "INSERT"):
            continue  # by all of them
        (told,) = re.findall(rf"^-- {word} by:((?:.*\n--  )*.*)", comment, re.MULTILINE)
        modules = {name for name in MODULES if re.search(rf"\b{name}\b(?=[ ]?[(,:])", told)}
        assert modules == {name for name, its_verb, its_table in ALL if (its_verb, its_table) == (verb, table)}, table
