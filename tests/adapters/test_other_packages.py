"""Adapters of other packages: how they are found, what is said of one that cannot be used, and their author's tests."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from adapters.all import OURS
from adapters.conformance.played import Server
from tests.other_packages import EXAMPLE, ROOT, broken, environment, install
from tests.patience import VARIABLE, patient
from tests.service import PDM


def pdm(*arguments: str, path: tuple[Path, ...] = (), **more: str) -> subprocess.CompletedProcess[str]:
    command = [PDM, *arguments]
    env = {**environment(*path), **more}
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=patient(30))


def pytest_of_an_author(where: Path, *arguments: str, path: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:xdist", *arguments]
    env = {**environment(path), VARIABLE: os.environ.get(VARIABLE, "1"), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(command, cwd=where, env=env, capture_output=True, text=True, timeout=patient(150))


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The service's package and the example, both built and installed."""
    return install(tmp_path_factory.mktemp("installed"), ROOT, EXAMPLE)


@pytest.fixture
def example(tmp_path: Path) -> Path:
    """The example's sources, to be changed."""
    return Path(shutil.copytree(EXAMPLE, tmp_path / "example", ignore=shutil.ignore_patterns("__pycache__")))


# --- who is there -----------------------------------------------------------------------------------


def test_list_of_our_own() -> None:
    """Without other packages the list has our own adapters, and nothing else."""
    listed = json.loads(pdm("registrars", "--json").stdout)
    assert [one["name"] for one in listed] == list(OURS)
    assert all(one["ours"] and one["package"] == "pool-domain-manager" for one in listed)
    (ovh,) = [one for one in listed if one["name"] == "ovh"]
    assert ovh["settings"] == ["PDM_REGISTRAR_OVH_URL", "PDM_REGISTRAR_OVH_ENDPOINT"]


def test_list_with_another_package(installed: Path) -> None:
    """An installed adapter is in the list, with its package, its version and what it can do."""
    done = pdm("registrars", path=(installed,))
    assert done.returncode == 0, done.stderr
    (row,) = [line for line in done.stdout.splitlines() if line.startswith("gandi ")]
    assert row.split() == ["gandi", "Gandi", "sets", "later", "no", "sets", "pdm-registrar-gandi", "0.1.0"]
    assert [line.split()[0] for line in done.stdout.splitlines()[2:]] == sorted([*OURS, "gandi"])
    (listed,) = [
        one for one in json.loads(pdm("registrars", "--json", path=(installed,)).stdout) if one["name"] == "gandi"
    ]
    assert (listed["package"], listed["version"], listed["ours"]) == ("pdm-registrar-gandi", "0.1.0", False)
    assert (listed["asynchronous"], listed["tellsProgress"], listed["setsDs"]) == (True, False, True)


# --- who cannot be used -----------------------------------------------------------------------------

ADAPTER = """
from adapters.base import About
from adapters.entry import Entry, Option

class Adapter:
    about = About(name="x", title="X", token_form="t", token_url="https://x.test", sets_nameservers=True, tells_permission=False,
                  reads_ds=False, sets_ds=False, asynchronous=False, settles_within=60, propagation="soon")
    async def validate(self, credential, domain, *, within=8.0): ...
    async def get_nameservers(self, credential, domain, *, within=8.0): ...
    async def set_nameservers(self, credential, domain, nameservers, *, within=8.0): ...

ENTRY = Entry(make=lambda http, url, options: Adapter())
"""


@pytest.mark.parametrize(
    ("point", "code", "said"),
    [
        ("x = broken_adapter:ENTRY", "import no_such_module", "broken_adapter:ENTRY cannot be loaded: ModuleNotFoundError: No module named 'no_such_module'"),
        ("x = broken_adapter:ENTRY", "1 / 0", "broken_adapter:ENTRY cannot be loaded: ZeroDivisionError: division by zero"),
        ("x = broken_adapter:OTHER", ADAPTER, "broken_adapter:OTHER cannot be loaded: AttributeError: module 'broken_adapter' has no attribute 'OTHER'"),
        ("x = broken_adapter:Adapter", ADAPTER, "broken_adapter:Adapter is not an adapters.entry.Entry"),
        ("ovh = broken_adapter:ENTRY", ADAPTER, "there is one of that name already, the service's own"),
        ("X-1 = broken_adapter:ENTRY", ADAPTER, "its name is not one of lower-case letters and digits"),
        ("y = broken_adapter:ENTRY", ADAPTER, "its `about` names it x"),
        ("x = broken_adapter:ENTRY", ADAPTER.replace("Adapter())", "1 / 0)"), "it cannot be made: ZeroDivisionError: division by zero"),
        ("x = broken_adapter:ENTRY", ADAPTER.replace("Adapter())", "object())"), "it has no `about` that is an adapters.base.About"),
        ("x = broken_adapter:ENTRY", ADAPTER.replace("async def validate", "def validate"), "it has no coroutine function validate"),
        ("x = broken_adapter:ENTRY", ADAPTER.replace("domain, nameservers, *, within=8.0", "domain, nameservers"), "its set_nameservers does not take what adapters.base says"),
        ("x = broken_adapter:ENTRY", ADAPTER.replace("sets_ds=False", "sets_ds=True"), "its `about` and its methods do not agree on whether it sets DS"),
        ("x = broken_adapter:ENTRY", ADAPTER + "    \nENTRY = Entry(make=ENTRY.make, options={'URL': Option(default='', parse=str)})", "URL cannot be the end of a setting's name"),
    ],
)  # fmt: skip
def test_adapter_that_cannot_be_used(tmp_path: Path, point: str, code: str, said: str) -> None:
    """One line says which package's adapter it is and what is wrong with it; the exit code is 2."""
    done = pdm("registrars", path=(broken(tmp_path, point, code),))
    name = point.partition(" ")[0]
    wanted = f"the adapter {name} of broken-adapter 1.2 cannot be used: {said}; fix or uninstall it\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", wanted)


def test_adapter_that_can_be_used(tmp_path: Path) -> None:
    """The adapter that is broken above is none before."""
    done = pdm("registrars", path=(broken(tmp_path, "x = broken_adapter:ENTRY", ADAPTER),))
    assert (done.returncode, done.stderr) == (0, "")
    assert "broken-adapter 1.2" in done.stdout


def test_two_packages_with_adapters_of_one_name(tmp_path: Path) -> None:
    """None of them is chosen in silence."""
    broken(tmp_path, "x = broken_adapter:ENTRY", ADAPTER)
    broken(tmp_path, "x = second_adapter:ENTRY", ADAPTER, name="second-adapter")
    done = pdm("registrars", path=(tmp_path,))
    assert done.returncode == 2
    assert (
        "the adapter x of second-adapter 1.2 cannot be used: broken-adapter 1.2 has one of that name, too"
        in done.stderr
    )


@pytest.mark.parametrize("command", ["serve", "migrate", "doctor"])
def test_command_with_an_adapter_that_cannot_be_used(tmp_path: Path, command: str) -> None:
    """What needs registrars does not start, and tells all faults of the settings at once, without a traceback."""
    done = pdm(command, path=(broken(tmp_path, "x = broken_adapter:ENTRY", "1 / 0"),), PDM_PDNS_API_KEY="k")
    assert done.returncode == 2
    lines = done.stderr.splitlines()
    assert lines[0].startswith("the adapter x of broken-adapter 1.2 cannot be used: ")
    assert "PDM_DATABASE_URL: missing" in lines
    assert "Traceback" not in done.stderr


# --- the how-to -------------------------------------------------------------------------------------


def test_how_to_is_the_example() -> None:
    """What the page has people write stands in the example; what it says of who plays is there to be said."""
    page = (ROOT / "docs" / "write-a-registrar-adapter.md").read_text("utf-8")
    example = "".join(
        (EXAMPLE / file).read_text("utf-8") for file in ("pyproject.toml", "src/pdm_registrar_gandi/__init__.py")
    )
    lines = [
        line for block in re.findall(r"```(?:toml|python)\n(.*?)```", page, re.DOTALL) for line in block.splitlines()
    ]
    assert [line for line in lines if line not in example and not line.startswith("addopts")] == []
    assert len(lines) > 10
    rows = [line.split("|")[1] for line in page.splitlines() if line.startswith("| `")]
    members = {member for row in rows for member in re.findall(r"`(\w+)", row)}
    assert "is_change" in members
    assert members <= {*dir(Server), *Server.__annotations__}


# --- an author's tests ------------------------------------------------------------------------------


def test_suite_as_an_author_runs_it(installed: Path, example: Path) -> None:
    """The suite is in the package that is installed, and the example's adapter passes all of it."""
    where = [sys.executable, "-c", "import adapters.conformance; print(adapters.conformance.__file__)"]
    assert subprocess.check_output(where, cwd=example, env=environment(installed), text=True).startswith(str(installed))
    done = pytest_of_an_author(example, "--pyargs", "adapters.conformance", "-v", path=installed)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    for one in ("adapter.py::test_set_nameservers[gandi]", "secrets.py::test_credential_stays_secret[gandi-echo]"):
        assert f"test_{one} PASSED" in done.stdout


def test_authors_own_tests(installed: Path, example: Path) -> None:
    """The example's own tests pass, with the fixtures of the suite."""
    done = pytest_of_an_author(example, path=installed)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]


@pytest.mark.parametrize(
    ("before", "after", "failing"),
    [
        ("self._http.write(request", "self._http.read(request", "test_change_that_may_not_have_been_made"),
        ("return await self._http.read(", "__import__('time').sleep(max(0, self._until - __import__('time').monotonic()))\n        return await self._http.read(", "test_others_go_on_meanwhile"),
        ("headers=self._headers)", "headers={**self._headers, 'cookie': 's=1'})", "test_cookie"),
        ('InvalidCredential, "Gandi refuses', 'Rejected, "Gandi refuses', "test_validate_of_a_refused_credential"),
        ("raise InvalidCredential(_FORM)", "raise InvalidCredential(found)", "test_credential_stays_secret"),
    ],
)  # fmt: skip
def test_suite_with_an_adapter_that_breaks_a_promise(
    installed: Path, example: Path, before: str, after: str, failing: str
) -> None:
    """An adapter that repeats a write, blocks the event loop, sends a cookie, sorts a failure wrongly or tells a token fails."""
    file = example / "src" / "pdm_registrar_gandi" / "api.py"
    text = file.read_text()
    assert before in text
    file.write_text(text.replace(before, after))
    done = pytest_of_an_author(example, "--pyargs", "adapters.conformance", "-k", failing, path=installed)
    assert done.returncode == 1, done.stdout[-3000:] + done.stderr[-1000:]
    assert f"::{failing}[" in done.stdout


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (
            '["gandi = no_such_module:X"]',
            "played_registrars: gandi = no_such_module:X: No module named 'no_such_module'",
        ),
        ('["gandi = played_gandi:X"]', "module 'played_gandi' has no attribute 'X'"),
        ('["gandi = json:JSONDecoder"]', "is no subclass of adapters.conformance.played.Server"),
        ("[]", "played_registrars is missing in pytest's settings"),
    ],
)
def test_suite_without_who_plays(installed: Path, example: Path, line: str, said: str) -> None:
    """What is wrong with the one line of settings that the suite needs is told in a sentence."""
    file = example / "pyproject.toml"
    file.write_text(file.read_text().replace('["gandi = played_gandi:PlayedGandi"]', line))
    done = pytest_of_an_author(example, "--pyargs", "adapters.conformance", path=installed)
    assert done.returncode != 0
    assert said in done.stdout + done.stderr
    assert "INTERNALERROR" not in done.stdout
