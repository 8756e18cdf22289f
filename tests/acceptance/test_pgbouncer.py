"""PgBouncer between the service and PostgreSQL."""

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pdm_service.store.pooler import SHARED
from tests.bouncer import Mode, PgBouncer
from tests.eventually import eventually
from tests.patience import patient
from tests.service import PDM, Service, name


@pytest.fixture
def bouncer(directory: Path, database_url: str) -> Iterator[Callable[[Mode], PgBouncer]]:
    made: list[PgBouncer] = []

    def make(mode: Mode) -> PgBouncer:
        made.append(PgBouncer(directory / name("bouncer"), database_url, mode))
        made[-1].start()
        return made[-1]

    yield make
    for one in made:
        one.stop()


def doctor(service: Service, code: int) -> dict[str, dict[str, str]]:
    done = subprocess.run(
        [PDM, "doctor", "--json"], env=service.environment, capture_output=True, text=True, timeout=patient(60)
    )
    assert done.returncode == code, (done.stdout, done.stderr)
    return {one["what"]: one for one in json.loads(done.stdout)}


def test_session_mode(bouncer: Callable[[Mode], PgBouncer], new_service: Callable[..., Service]) -> None:
    """Behind PgBouncer in session mode names are published, and the doctor finds nothing wrong."""
    behind = bouncer("session").database_url
    one, other = (new_service(PDM_DATABASE_URL=behind, PDM_DATABASE_CONNECTIONS="3").start() for _ in range(2))
    eventually(one.pools_ready)
    label = name()
    one.publish(label)
    assert other.release(label).status_code in {200, 202}
    one.gone(label)
    assert one.client.get("/readyz").json() == {"ready": True, "database": "ok", "powerdns": "ok"}
    assert doctor(one, 0)["database"]["verdict"] == "ok"


@pytest.mark.parametrize("mode", ["transaction", "statement"])
def test_other_modes_are_told(
    mode: Mode, bouncer: Callable[[Mode], PgBouncer], new_service: Callable[..., Service]
) -> None:
    """Where sessions are not ours, the start ends with a sentence that says so, and so does the doctor."""
    service = new_service(PDM_DATABASE_URL=bouncer(mode).database_url)
    service.start(ready=False)
    assert service.process is not None
    assert service.process.wait(patient(20)) == 1
    assert service.log.read_text().splitlines()[-1] == SHARED
    found = doctor(service, 1)["database"]
    assert (found["verdict"], found["found"] + ": " + found["remedy"]) == ("fail", SHARED)
