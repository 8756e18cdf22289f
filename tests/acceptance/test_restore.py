"""One of the two databases restored to what it was a while ago: what is lost, and how both come together again."""

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from pdm_service.dev.servers import Postgres, PowerDNS
from tests.dns_view import Api, records
from tests.eventually import eventually
from tests.patience import patient
from tests.service import ADDRESS, PDM, Service, name

AUDITS = {"PDM_AUDIT_INTERVAL": "1s", "PDM_RECONCILE_INTERVAL": "1s"}


class Backup:
    """A copy of a database to which nobody is connected."""

    def __init__(self, postgres: Postgres, database: str) -> None:
        self._postgres, self._database, self._copy = postgres, database, name("copy_")
        postgres.create_database(self._copy, template=database)

    def restore(self) -> None:
        self._postgres.drop_database(self._database)
        self._postgres.create_database(self._database, template=self._copy)
        self._postgres.drop_database(self._copy)


def strays(service: Service) -> set[str]:
    return {str(line["fqdn"]) for line in service.lines() if line["message"] == "stray delegation kept"}


def test_database_of_the_service_restored(
    new_service: Callable[..., Service], postgres: Postgres, powerdns: PowerDNS, api: Api, database_url: str
) -> None:
    """Names published since stay in DNS until somebody decides; names released since come back."""
    service = new_service(**AUDITS).start()
    released, late = name("released"), name("late")
    service.publish(released)
    assert service.stop() == 0
    backup = Backup(postgres, database_url.rpartition("/")[2])
    service.start()
    ds = service.publish(late)["dnssec"]["ds"]
    service.release(released)
    service.gone(released)
    assert service.stop() == 0
    backup.restore()
    service.start()
    fqdn = f"{late}.{service.pool}"
    eventually(lambda: strays(service) == {fqdn}, 15)
    eventually(lambda: f'pdm_lost_zones{{pool="{service.pool}"}} 1.0' in service.client.get("/metrics").text, 15)
    assert records(powerdns.dns_port, fqdn, "A") == [ADDRESS]
    assert service.get(late).status_code == 404
    eventually(lambda: records(powerdns.dns_port, f"{released}.{service.pool}", "A") == [ADDRESS], 20)
    # The way back: what the export of events tells is done once more.
    service.release(released)
    service.gone(released)
    # Somebody else may reserve the name, and gets nothing of it before a person has decided.
    token = service.reserve(late).json()["reservationToken"]
    assert service.commit(late, token, "192.0.2.66").status_code == 202
    eventually(lambda: "adopt" in service.get(late).json()["dns"].get("lastError", ""), 15)
    assert records(powerdns.dns_port, fqdn, "A") == [ADDRESS]
    assert pdm(service, "adopt", late).returncode == 1, "somebody holds the name"
    service.release(late)
    # That release takes nothing away of what the database knows nothing of.
    time.sleep(3)
    assert records(powerdns.dns_port, fqdn, "A") == [ADDRESS]
    assert set(api.delegations(service.pool)) == {fqdn}
    adopted = pdm(service, "adopt", late, "--instead")
    assert adopted.returncode == 0, adopted.stderr
    found = service.published(late)
    assert (found["dnssec"]["ds"], records(powerdns.dns_port, fqdn, "A")) == (ds, [ADDRESS])
    # Its holder has the token that was shown.
    assert service.release(late, reservationToken=adopted.stdout.split()[-1]).status_code in {200, 202}
    service.gone(late)
    eventually(lambda: api.delegations(service.pool) == {}, 15)


def test_lost_name_that_is_given_up(new_service: Callable[..., Service], powerdns: PowerDNS, api: Api) -> None:
    """A zone that the database has lost goes once an operator says so, and the name is anybody's."""
    service = new_service(**AUDITS).start()
    lost = name("lost")
    fqdn = f"{lost}.{service.pool}"
    service.publish(lost)
    service.execute(f"DELETE FROM allocations WHERE fqdn = '{fqdn}'")
    service.execute(f"DELETE FROM events WHERE fqdn = '{fqdn}'")
    token = service.reserve(lost).json()["reservationToken"]
    assert service.commit(lost, token, "192.0.2.66").status_code == 202
    eventually(lambda: "discard" in service.get(lost).json()["dns"].get("lastError", ""), 15)
    assert records(powerdns.dns_port, fqdn, "A") == [ADDRESS]
    assert pdm(service, "discard", lost).returncode == 0
    service.published(lost)
    eventually(lambda: records(powerdns.dns_port, fqdn, "A") == ["192.0.2.66"], 15)
    nothing = pdm(service, "discard", lost)
    assert (nothing.returncode, "nothing is lost" in nothing.stderr) == (1, True)


def test_zone_that_was_left_behind(new_service: Callable[..., Service], api: Api) -> None:
    """A zone with the mark of an allocation that has ended goes without anybody's help."""
    service = new_service(**AUDITS).start()
    left = name("left")
    fqdn = f"{left}.{service.pool}"
    service.publish(left)
    zone = api.zone(fqdn)
    assert zone is not None
    service.release(left)
    service.gone(left)
    api.create(fqdn, account=zone["account"], nameservers=["ns1.platform.test."])
    eventually(lambda: api.zone(fqdn) is None, 15)
    service.gone(left)


def pdm(service: Service, command: str, label: str, *more: str) -> subprocess.CompletedProcess[str]:
    """What an operator does beside the service, with its settings."""
    call = [PDM, command, f"{label}.{service.pool}", *more]
    return subprocess.run(call, env=service.environment, capture_output=True, text=True, timeout=patient(30))


def test_database_of_powerdns_restored(
    directory: Path, postgres: Postgres, own_powerdns: PowerDNS, database_url: str, pool: str
) -> None:
    """Names published since are made anew, and names released since are taken away again, without anybody's help."""
    service = Service(directory, database_url, own_powerdns, pool, **AUDITS)
    try:
        service.start()
        released, kept, late = name("released"), name("kept"), name("late")
        service.publish(released)
        before = service.publish(kept)["dnssec"]["ds"]
        own_powerdns.stop()
        backup = Backup(postgres, own_powerdns.directory.name)
        own_powerdns.start()
        service.publish(late)
        service.release(released)
        service.gone(released)
        own_powerdns.stop()
        backup.restore()
        own_powerdns.start()
        api = Api(own_powerdns)
        wanted = {f"{kept}.{pool}": {"NS", "DS"}, f"{late}.{pool}": {"NS", "DS"}}
        eventually(lambda: api.delegations(pool) == wanted, 30)
        service.published(late, 20)
        assert records(own_powerdns.dns_port, f"console.{late}.{pool}", "A") == [ADDRESS]
        assert records(own_powerdns.dns_port, f"{late}.{pool}", "DS") == service.get(late).json()["dnssec"]["ds"]
        eventually(lambda: api.zone(f"{released}.{pool}") is None, 20)
        assert service.get(kept).json()["dnssec"]["ds"] == before
    finally:
        service.kill()
        service.client.close()
