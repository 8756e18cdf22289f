"""The walls of the house: each import contract fails when something is imported that it forbids."""

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from adapters.all import OURS

ROOT = Path(__file__).parents[2]
LINT = Path(sys.executable).parent / "lint-imports"

HOUSE = "The house: floors, and siblings that don't know each other"
PURE = "Pure modules do no I/O and have no clock"
SQL = "SQL lives in the store"
HTTP = "HTTP knows the verbs, not the database, PowerDNS or DNS"
CLIENT = "The client needs the wire, the errors, the findings and TLS alone"
ADAPTERS = "The adapters are a library of their own"
REGISTRARS = "Each registrar stands by itself"
WORKSHOP = "What serves needs no workshop"


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the packages, to build badly in."""
    copy = tmp_path_factory.mktemp("house")
    for package in ("pdm_service", "adapters"):
        shutil.copytree(ROOT / package, copy / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", copy)
    return copy


def broken(house: Path) -> set[str]:
    """The contracts that do not hold there."""
    ended = subprocess.run(
        [LINT, "--no-cache", "--no-logo"], cwd=house, env={**os.environ, "PYTHONPATH": str(house)},
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert "Contracts:" in ended.stdout, ended.stdout + ended.stderr
    return {line.removesuffix(" BROKEN") for line in ended.stdout.splitlines() if line.endswith(" BROKEN")}


def test_the_house_as_it_stands(house: Path) -> None:
    """Nothing is broken, and every contract is one of those below."""
    assert broken(house) == set()
    named = {
        line.split('"')[1]
        for line in (house / "pyproject.toml").read_text().splitlines()
        if line.startswith('name = "') and line != 'name = "pool-domain-manager"'
    }
    assert named == {HOUSE, PURE, SQL, HTTP, CLIENT, ADAPTERS, REGISTRARS, WORKSHOP}


def test_every_registrar_stands_by_itself() -> None:
    """The contract names them all."""
    (contract,) = [
        one
        for one in tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
        if one["name"] == REGISTRARS
    ]
    assert contract["modules"] == [f"adapters.{name}" for name in OURS]


@pytest.mark.parametrize(
    ("file", "line", "contracts"),
    [
        ("pdm_service/api/verbs.py", "import pdm_service.store.allocations", {HTTP}),
        ("pdm_service/api/lists.py", "import asyncpg", {HTTP, SQL}),
        ("pdm_service/delegations/verdict.py", "import asyncpg", {PURE, SQL}),
        ("pdm_service/model/zone.py", "import asyncpg", {PURE}),
        ("pdm_service/names/policy.py", "import asyncio", {PURE}),
        ("pdm_service/byo/rdap.py", "import pdm_service.pools.zones", {HOUSE}),
        ("pdm_service/publisher/outcome.py", "import pdm_service.delegations.watch", {HOUSE}),
        ("pdm_service/store/rows.py", "import pdm_service.settings", {HOUSE}),
        ("pdm_service/store/claims.py", "import pdm_service.publisher.outcome", {HOUSE}),
        ("pdm_service/utils.py", "", {HOUSE}),
        ("pdm_service/pools/zones.py", "import asyncpg", {SQL}),
        ("pdm_service/chores.py", "import sqlalchemy", {SQL}),
        ("pdm_service/client.py", "import pdm_service.model.records", {CLIENT}),
        ("adapters/base.py", "import pdm_service.errors", {ADAPTERS}),
        ("adapters/ovh/adapter.py", "import adapters.godaddy.api", {REGISTRARS}),
        ("pdm_service/parts.py", "import pdm_service.dev.ports", {HOUSE, WORKSHOP}),
        ("adapters/all.py", "import adapters.conformance.played", {WORKSHOP}),
    ],
)
def test_one_more_import(house: Path, file: str, line: str, contracts: set[str]) -> None:
    """An import that is forbidden breaks its contract; a module without a floor breaks the house."""
    path = house / file
    before = path.read_text() if path.exists() else None
    path.write_text(f"{before or ''}\n{line}\n")
    try:
        assert broken(house) == contracts
    finally:
        path.unlink() if before is None else path.write_text(before)
