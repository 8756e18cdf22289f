"""`pdm demo` and `pdm dev` as a newcomer runs them: what they tell, what they keep, what they leave."""

import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import httpx
import pytest

from pdm_service.dev.postgres import with_connection
from pdm_service.dev.process import descendants, start_child
from pdm_service.dev.servers import Postgres
from tests.eventually import eventually
from tests.patience import patient
from tests.service import PDM

START_SECONDS = 60.0
STOP_SECONDS = 30.0
STEPS = (
    ("free?", "v1/check", "available: true"),
    ("Hold it", "v1/reserve", "201 Created", "reservationToken: "),
    ("Publish", "v1/commit", "dns: state published"),
    ("nameserver answers", "$ dig", "gitea.omantel.omani.works. 300 IN A 192.0.2.10"),
    ("parent", " DS ", "IN DS "),
    ("secure", "$ dig", " ad\n", "; fully validated"),
    ("second caller", "v1/reserve", "409 Conflict"),
    ("Give it back", "v1/release", "404 Not Found"),
    ("All gone", "status NXDOMAIN", "available: true"),
)


def environment(**more: str) -> dict[str, str]:
    """Ours, without settings of the service."""
    return {key: value for key, value in os.environ.items() if not key.startswith("PDM_")} | more


def inhabitants(directory: Path | str) -> list[str]:
    """Processes that name the directory in their command line or work in it."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            place = (entry / "cwd").readlink()
        except OSError:
            continue
        if f"{directory}" in command or f"{place}/".startswith(f"{directory}/"):
            found.append(f"{entry.name} {command}")
    return found


class Running:
    """One `pdm dev` or `pdm demo`, its output in a file."""

    def __init__(self, output: Path, *arguments: str | Path, **settings: str) -> None:
        self.output = output
        with output.open("wb") as file:
            self.process = start_child(
                [PDM, *map(str, arguments)], env=environment(**settings), stdout=file, stderr=subprocess.STDOUT
            )

    def told(self) -> str:
        return self.output.read_text()

    def until(self, text: str) -> str:
        """Wait until it has told that; return all that it has told."""

        def look() -> bool:
            ended = self.process.poll() is not None
            if text not in self.told() and ended:
                raise RuntimeError(f"ended without telling {text!r}:\n{self.told()}")
            return text in self.told()

        eventually(look, START_SECONDS, f"{text!r} in {self.output}")
        return self.told()

    def end(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        return self.process.wait(patient(STOP_SECONDS))


class Dev(Running):
    """One `pdm dev` that has told everything."""

    def __init__(self, data: Path, **settings: str) -> None:
        super().__init__(data.with_suffix(".out"), "dev", "--data", data, **settings)
        told = self.until("/v1/allocations\n")
        self.urls = dict(re.findall(r"^  (\w[\w ]*\w)  +(\S.*)$", told, re.MULTILINE))
        self.curls = re.findall(r"^  (curl .*)$", told, re.MULTILINE)

    def get(self, path: str) -> httpx.Response:
        return httpx.get(self.urls["API"] + path, trust_env=False, timeout=patient(20))

    def paste(self, line: str) -> dict:
        """Run one of the lines to try, as typed."""
        done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=True, timeout=patient(20))
        return json.loads(done.stdout)


@pytest.fixture
def data(usual_port: None) -> Iterator[Path]:
    """A data directory that is not there yet, whose parent everybody may pass through; nobody is left in it."""
    parent = Path(tempfile.mkdtemp(prefix="pdm-stack-"))
    parent.chmod(0o711)
    yield parent / "data"
    try:
        eventually(lambda: not inhabitants(parent), STOP_SECONDS, f"nobody in {parent}")
    finally:
        for member in inhabitants(parent):
            os.kill(int(member.split()[0]), signal.SIGKILL)
        shutil.rmtree(parent)


def demo_directory(told: str) -> Path:
    found = re.search(r"in (/\S*pdm-demo-\w+)$", told, re.MULTILINE)
    assert found is not None
    return Path(found[1])


def databases(postgres: Postgres) -> set[str]:
    """The names of all databases on a server."""

    async def names(connection: asyncpg.Connection) -> set[str]:
        return {row["datname"] for row in await connection.fetch("SELECT datname FROM pg_database")}

    return with_connection(postgres.dsn(), names)


def test_demo_tells_each_step_and_leaves_nothing(tmp_path: Path) -> None:
    """The demo ends with 0, tells every step with its calls and answers, and leaves no process and no file."""
    demo = Running(tmp_path / "out", "demo")
    assert demo.process.wait(patient(START_SECONDS)) == 0, demo.told()
    told = demo.told()
    sections = re.split(r"^\d+\. ", told, flags=re.MULTILINE)[1:]
    assert len(STEPS) == len(sections)
    for section, words in zip(sections, STEPS, strict=True):
        for word in words:
            assert word in section
    assert "\033" not in told
    assert not re.search(r"[0-9a-f]{8}-[0-9a-f]{4}-", told), "the token is shortened"
    assert not demo_directory(told).exists()
    assert inhabitants(demo_directory(told)) == []


@pytest.mark.parametrize(
    ("number", "moment"),
    [(signal.SIGINT, "3. Publish"), (signal.SIGTERM, "starting PowerDNS")],
)
def test_demo_interrupted_leaves_nothing(tmp_path: Path, number: signal.Signals, moment: str) -> None:
    """Ctrl-C or SIGTERM in the middle, also of the start, ends the demo with 130 and leaves nothing."""
    demo = Running(tmp_path / "out", "demo")
    directory = demo_directory(demo.until(moment))
    assert demo.end(number) == 130, demo.told()
    assert "interrupted" in demo.told()
    assert "Traceback" not in demo.told()
    assert not directory.exists()
    assert inhabitants(directory) == []


def test_demo_that_fails_says_why_and_leaves_nothing(tmp_path: Path) -> None:
    """Where an answer is not as told the demo ends with 1 and a sentence, and leaves nothing either."""
    demo = Running(tmp_path / "out", "demo")
    directory = demo_directory(demo.until("starting a validating resolver"))
    (powerdns,) = (int(one.split()[0]) for one in inhabitants(directory) if "pdns_server" in one)
    os.kill(powerdns, signal.SIGKILL)
    assert demo.process.wait(patient(STOP_SECONDS)) == 1, demo.told()
    assert "pdm demo: " in demo.told()
    assert "Traceback" not in demo.told()
    assert not directory.exists()
    assert inhabitants(directory) == []


def test_dev_keeps_its_data_over_ctrl_c(data: Path) -> None:
    """The lines to try work as printed; Ctrl-C ends with 0 and leaves no process; a second start has it all."""
    first = Dev(data)
    assert first.get("/healthz").json()["status"] == "ok"
    assert first.paste(first.curls[0])["available"]
    held = first.paste(first.curls[1])
    assert held["state"] == "reserved"
    assert [held["fqdn"]] == [one["fqdn"] for one in first.paste(first.curls[2])["allocations"]]
    for url in (first.urls["metrics"], first.urls["OpenAPI"]):
        assert httpx.get(url, trust_env=False).status_code == 200
    assert first.end(signal.SIGINT) == 0, first.told()
    assert inhabitants(data) == []

    second = Dev(data)
    assert first.urls == second.urls
    assert second.get(f"/v1/allocations/{held['fqdn']}").json()["state"] == "reserved"
    assert second.paste(second.curls[1])["state"] == "reserved", "the line to try names another label"
    assert second.end(signal.SIGTERM) == 0, second.told()


def test_dev_comes_back_after_kill_9(data: Path) -> None:
    """After a kill -9 of `pdm dev` all its servers end, and the next start just works with the data kept."""
    first = Dev(data)
    held = first.paste(first.curls[1])
    family = descendants(first.process.pid)
    assert len(family) > 5
    first.end(signal.SIGKILL)
    second = Dev(data)
    assert first.urls == second.urls
    assert second.get(f"/v1/allocations/{held['fqdn']}").json()["state"] == "reserved"
    assert not set(family) & {int(one.split()[0]) for one in inhabitants(data)}
    second.end(signal.SIGKILL)
    eventually(lambda: not inhabitants(data), STOP_SECONDS, "all servers to end")


def test_dev_is_alone_and_ends_when_a_server_ends(data: Path) -> None:
    """A second `pdm dev` on the same data is refused; when a server ends by itself, all ends with 1."""
    first = Dev(data)
    second = subprocess.run(
        [PDM, "dev", "--data", data], capture_output=True, text=True, timeout=patient(20), check=False
    )
    assert second.returncode == 1
    assert f"pdm dev: another `pdm dev` runs already on {data}\n" == second.stderr
    assert first.get("/readyz").status_code == 200
    (powerdns,) = (int(one.split()[0]) for one in inhabitants(data) if "pdns_server" in one)
    os.kill(powerdns, signal.SIGKILL)
    assert first.process.wait(patient(STOP_SECONDS)) == 1
    assert "pdns_server ended by itself" in first.told()


def test_given_database_wins(data: Path, postgres: Postgres) -> None:
    """With PDM_DATABASE_URL the service works there, PowerDNS beside it; one used with another is refused."""
    postgres.create_database("given")
    dev = Dev(data, PDM_DATABASE_URL=postgres.dsn("given"))
    held = dev.paste(dev.curls[1])
    assert not [one for one in inhabitants(data) if "postgres" in one]
    assert dev.end(signal.SIGINT) == 0
    assert "pdns_dev" in databases(postgres)
    assert postgres.dsn("given") not in dev.told()

    again = Dev(data, PDM_DATABASE_URL=postgres.dsn("given"))
    assert again.get(f"/v1/allocations/{held['fqdn']}").json()["state"] == "reserved"
    assert again.end(signal.SIGINT) == 0

    # Its allocations would now be published anew, by a PowerDNS that knows nothing of them.
    postgres.drop_database("pdns_dev")
    assert "allocations of another PowerDNS" in refusal(data, postgres.dsn("given"))
    assert "pdns_dev" not in databases(postgres)


def test_demo_on_a_given_server_leaves_its_databases_as_they_were(tmp_path: Path, postgres: Postgres) -> None:
    """With PDM_DATABASE_URL the demo works on databases of its own on that server, and drops them."""
    before = databases(postgres)
    demo = Running(tmp_path / "out", "demo", PDM_DATABASE_URL=postgres.dsn())
    assert demo.process.wait(patient(START_SECONDS)) == 0, demo.told()
    assert "starting PostgreSQL" not in demo.told()
    assert before == databases(postgres)


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("limited:x@{place}/given_away", "may not create the database pdns_dev"),
        ("limited:wrong@{place}/given_away", "password authentication failed"),
        ("limited:x@127.0.0.1:1/given_away", "the database cannot be used"),
        ("{place}", "must be of the form"),
    ],
)
def test_unusable_database_is_told_in_a_sentence(data: Path, postgres: Postgres, url: str, sentence: str) -> None:
    """A database that PowerDNS or the service cannot use ends the start with 1 and one sentence."""
    postgres.drop_database("pdns_dev")
    postgres.drop_database("given_away")

    async def prepare(connection: asyncpg.Connection) -> None:
        await connection.execute("DROP ROLE IF EXISTS limited")
        await connection.execute("CREATE ROLE limited LOGIN PASSWORD 'x'")
        await connection.execute("CREATE DATABASE given_away OWNER limited")

    with_connection(postgres.dsn(), prepare)
    told = refusal(data, "postgresql://" + url.format(place=f"127.0.0.1:{postgres.port}"))
    assert sentence in told


def refusal(data: Path, url: str) -> str:
    """Start `pdm dev` on a database, see it end with 1 and one line, and return that."""
    done = subprocess.run(
        [PDM, "dev", "--data", data],
        env=environment(PDM_DATABASE_URL=url),
        capture_output=True,
        text=True,
        timeout=patient(START_SECONDS),
        check=False,
    )
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    return line
