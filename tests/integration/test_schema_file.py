"""`migrations/schema.sql`: what it makes is what the migrations make, and it explains all of it."""

import re
import subprocess
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from pdm_service.dev.postgres import machine_programs, wheel_programs
from pdm_service.dev.servers import Postgres

FILE = Path(__file__).parents[2] / "migrations" / "schema.sql"
VERSION = "alembic_version"


@pytest.fixture
async def from_file(postgres: Postgres) -> AsyncIterator[str]:
    """A database that the file has made."""
    name = f"pdm_{uuid.uuid4().hex[:12]}"
    postgres.create_database(name)
    connection = await asyncpg.connect(postgres.dsn(name))
    await connection.execute(FILE.read_text("utf-8"))
    await connection.close()
    yield postgres.dsn(name)
    postgres.drop_database(name)


def catalogue(url: str) -> set[str]:
    """Every statement that makes the schema of a database, the columns of a table in order of their names.

    Made by pg_dump: it knows all kinds of objects, and prints each as the server itself describes it.
    """
    program = (machine_programs() or wheel_programs() or Path()) / "pg_dump"
    dumped = subprocess.run([program, "--schema-only", "--dbname", url], capture_output=True, text=True, check=True)
    # A line that begins with a backslash is for psql, with a word made at random.
    lines = (line for line in dumped.stdout.splitlines() if line and not line.startswith(("--", "\\")))
    return {_sorted(statement) for statement in "\n".join(lines).split(";\n")}


def _sorted(statement: str) -> str:
    """The columns of a table stand in the order of the steps that added them; it means nothing."""
    head, bracket, body = statement.partition(" (\n")
    if not (statement.startswith("CREATE TABLE") and bracket):
        return statement
    return "\n".join((head, *sorted(body.removesuffix("\n)").split(",\n"))))


async def test_the_file_makes_what_the_migrations_make(from_file: str, database_url: str) -> None:
    """Tables, columns, constraints, indexes, sequences and types are the same; only alembic's own table is not there."""
    made, migrated = catalogue(from_file), catalogue(database_url)
    assert made - migrated == set()
    assert [statement for statement in migrated - made if f"public.{VERSION}" not in statement] == []
    assert migrated != made, "the migrated database has no version: this compared the file with itself"


async def test_the_file_explains_each_column(from_file: str) -> None:
    """Beside each column stands what it means."""
    connection = await asyncpg.connect(from_file)
    columns = await connection.fetch(
        "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'public'"
    )
    await connection.close()
    text = FILE.read_text("utf-8")
    tables = dict(re.findall(r"^CREATE TABLE (\w+) \(\n(.*?)^\);$", text, re.MULTILINE | re.DOTALL))
    explained = {
        table: re.findall(r"^    (\w+) .*?(?:-- \S|\(\n +-- \S)", tables[table], re.MULTILINE) for table in tables
    }
    assert columns
    assert [f"{table}.{column}" for table, column in columns if column not in explained[table]] == []


async def test_the_file_explains_each_word_of_a_check(from_file: str) -> None:
    """A word that a column may have stands on a line of its own, with what it means and who acts next."""
    connection = await asyncpg.connect(from_file)
    checks = await connection.fetch(
        "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE contype = 'c' AND conname <> ALL($1)",
        ["allocations_dns", "allocations_declared", "allocations_pool", "registrar_changes_check"],  # conditions
    )
    await connection.close()
    text = FILE.read_text("utf-8")
    written = dict(part.split(" ", 1) for part in text.split("\n    CONSTRAINT ")[1:])
    unexplained = [
        f"{name}: {word}"
        for name, definition in checks
        for word in re.findall(r"'([a-z-]+)'::text", definition.partition("ARRAY")[2] or definition.rpartition("=")[2])
        if not re.search(rf"^        '{word}',? +-- \S", written[name], re.MULTILINE)
    ]
    assert checks
    assert unexplained == []


def test_the_file_explains_each_table_index_and_constraint() -> None:
    """Above a table stands what a row is and who writes it; above an index or constraint what it forbids or serves."""
    text = FILE.read_text("utf-8")
    made = re.findall(r"((?:^--.*\n)*)^CREATE (TABLE|UNIQUE INDEX|INDEX|TYPE|SEQUENCE) (\w+)", text, re.MULTILINE)
    wanted = {
        "TABLE": r"(?s)-- A row is .*-- Inserted by: .*-- Changed by: .*-- Deleted by: ",
        "UNIQUE INDEX": "-- Forbids ",
    }
    assert [name for above, kind, name in made if not re.match(wanted.get(kind, "-- "), above)] == []
    assert len(made) == len(re.findall("^CREATE ", text, re.MULTILINE))
    constraints = re.findall(r"^(.*)\n    CONSTRAINT (\w+)", text, re.MULTILINE)
    assert [name for above, name in constraints if not above.startswith("    -- ")] == []
