"""The lifecycle: the statements, the schema and the API's document have the words and transitions of one table."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

from pdm_service.model.allocation import State
from pdm_service.model.event import TRANSITIONS, Action
from pdm_service.store.registrar_changes import Kind, Result
from tests.statements import texts

ROOT = Path(__file__).parents[2]
STATEMENTS = "\n".join(file.read_text() for file in sorted((ROOT / "pdm_service" / "store").glob("*.py")))
ANY = object()
Row = tuple[str, object, object]
TABLE = {(one.action.value, one.before, one.after) for one in TRANSITIONS}


def columns(text: str) -> list[str]:
    """The parts between the commas that stand in no brackets and no CASE."""
    parts, depth = [""], 0
    for word in re.findall(r"\(|\)|,|\bCASE\b|\bEND\b|'[^']*'|[^\s(),']+|\s+", text):
        depth += (word in {"(", "CASE"}) - (word in {")", "END"})
        if word == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += word
    return [part.strip() for part in parts]


def words(expression: str) -> list[str]:
    """The words that an action may be."""
    if match := re.fullmatch(r"(?:kind|\$\d) \|\| '-(\w*)'(?: \|\| \$\d)?", expression):
        results = [match[1]] if match[1] else get_args(Result)
        return [f"{kind}-{result}" for kind in get_args(Kind) for result in results]
    return re.findall(r"'([a-z-]+)'", re.sub(r"WHEN .*? THEN", "THEN", expression))


def state(expression: str) -> object:
    if match := re.fullmatch(r"'(\w+)'", expression):
        return State(match[1])
    return None if expression == "NULL" else ANY


def rows(statements: str) -> Iterator[Row]:
    """What the statements append to the audit trail: word, state before, state after."""
    for text in texts(statements):
        for names, selects in re.findall(r"INSERT INTO events \(([^)]+)\)\s*(SELECT.*)", text, re.DOTALL):
            into = [name.strip() for name in names.split(",")]
            for select in re.split(r"UNION ALL\s+(?=SELECT fqdn, id, '\w+', )", selects):
                values = columns(re.split(r"\s+(?:FROM|RETURNING)\s", select.removeprefix("SELECT"))[0])
                found = dict(zip(into, values, strict=True))
                for word in words(found["action"]):
                    yield word, state(found.get("from_state", "NULL")), state(found.get("to_state", "NULL"))


def matches(row: Row, transition: Row) -> bool:
    return row[0] == transition[0] and all(
        one in (ANY, other) for one, other in zip(row[1:], transition[1:], strict=True)
    )


def differences(statements: str) -> list[Row]:
    """What is in the statements and not in the table, and the other way round."""
    found = set(rows(statements))
    unknown = [row for row in found if not any(matches(row, transition) for transition in TABLE)]
    return unknown + [transition for transition in TABLE if not any(matches(row, transition) for row in found)]


def test_statements_make_the_transitions_of_the_table() -> None:
    """Every word and state that a statement appends is in the table, and each line of it is made by a statement."""
    assert differences(STATEMENTS) == []
    assert len(set(rows(STATEMENTS))) > 20


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("'removed', 'publisher', 'releasing'", "'dropped', 'publisher', 'releasing'"),
        ("'removed', 'publisher', 'releasing'", "'removed', 'publisher', 'active'"),
        ("'committed' ELSE 'changed'", "'committed' ELSE 'altered'"),
        ("|| '-requested'", "|| '-wanted'"),
        ("'released', $3, $4, 'active', 'releasing'", "'released', $3, $4, 'active', 'reserved'"),
        ("'condemned', 'publisher', 'releasing'", "'released', 'publisher', 'releasing'"),
    ],
)
def test_another_word_or_state_in_a_statement_is_seen(old: str, new: str) -> None:
    """A statement that is changed alone differs from the table."""
    assert old in STATEMENTS
    assert differences(STATEMENTS.replace(old, new)) != []


def test_every_word_has_a_transition() -> None:
    """The words are those of the table, and each line stands once."""
    assert {one.action for one in TRANSITIONS} == set(Action)
    assert len(TABLE) == len(TRANSITIONS)


def test_states_are_the_schemas() -> None:
    """The states of the table are those of the CHECK on allocations."""
    schema = re.sub(r"--.*", "", (ROOT / "migrations" / "schema.sql").read_text())
    (check,) = re.findall(r"CONSTRAINT allocations_state CHECK \(state IN \(([^)]*)\)\)", schema)
    states = {one for transition in TRANSITIONS for one in (transition.before, transition.after)}
    assert set(re.findall(r"'(\w+)'", check)) == {one.value for one in states if one}


def documented() -> list[tuple[str, str, str]]:
    """Word, state before and after of each line of the table in docs/api.md."""
    section = (ROOT / "docs" / "api.md").read_text().split("## Events\n")[1].split("\n## ")[0]
    lines = [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in section.splitlines()
        if line.startswith("| `") and "`action`" not in line
    ]
    return [
        (word, before, after)
        for cells in lines
        for word in re.findall(r"`([a-z-]+)`", cells[0])
        for change in cells[1].split(";")
        for before, _, after in [change.strip().partition(" → ")]
    ]


def test_the_document_has_every_word_and_its_states() -> None:
    """docs/api.md lists all transitions, and no other."""
    wanted = {(one.action.value, str(one.before or "free"), str(one.after or "free")) for one in TRANSITIONS}
    assert sorted(documented()) == sorted(wanted)
