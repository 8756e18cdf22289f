"""One of the two databases restored to what it was a while ago: what is lost, and how both come together again."""

from collections.abc import Callable
from pathlib import Path

from pdm_service.dev.servers import Postgres, PowerDNS
from tests.dns_view import Api, records
from tests.eventually import eventually
from tests.service import ADDRESS, Service, name

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
    """Names published since stay in DNS and are named, until they are had again; names released since come back."""
    service = new_service(**AUDITS, PDM_STRAY_DELEGATIONS="keep").start()
    released, late = name("released"), name("late")
    service.publish(released)
    assert service.stop() == 0
    backup = Backup(postgres, database_url.rpartition("/")[2])
    service.start()
    service.publish(late)
    service.release(released)
    service.gone(released)
    assert service.stop() == 0
    backup.restore()
    service.start()
    fqdn = f"{late}.{service.pool}"
    eventually(lambda: strays(service) == {fqdn}, 15)
    assert records(powerdns.dns_port, fqdn, "A") == [ADDRESS]
    assert service.get(late).status_code == 404
    eventually(lambda: records(powerdns.dns_port, f"{released}.{service.pool}", "A") == [ADDRESS], 20)
    # The way back: what the export of events tells is done once more.
    service.publish(late)
    service.release(released)
    service.gone(released)
    assert service.stop() == 0
    # As it is at all other times.
    service.environment["PDM_STRAY_DELEGATIONS"] = "remove"
    service.start()
    eventually(lambda: set(api.delegations(service.pool)) == {fqdn}, 15)
    service.published(late)
    assert records(powerdns.dns_port, fqdn, "A") == [ADDRESS]


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
