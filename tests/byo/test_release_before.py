"""A customer's domain on its way, across a change of the release: what the one stored the other reads."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from adapters.conformance.played import Server
from tests import releases
from tests.byo.conftest import Byo, Registry, at
from tests.service import Service, name
from tests.tree import OLD_NAMES, PLATFORM_NAMES, Tree, answers, rr

MAIL = {"type": "MX", "contents": ["10 mx.example.net."]}


@pytest.fixture
def before(directory: Path) -> dict[str, str]:
    """Settings that make a replica one of the release before RRsets had a trailing dot."""
    own = directory / name("release")
    own.mkdir()
    return {"PYTHONPATH": str(releases.before(own, releases.HOUSE))}


@pytest.fixture
def with_mail(tree: Tree, customer: str) -> str:
    tree.old_patch(customer, rr(customer, "MX", MAIL["contents"][0], ttl=2))
    return customer


def moved(api: Byo) -> Byo:
    """The domain, its nameservers changed at the registrar, its mail taken along."""
    api.reserve("byo-api")
    reply = api.flip(**{"import": [{"name": api.domain, "type": "MX"}]})
    assert reply.status_code in {200, 202}, reply.text
    api.until("moved", lambda one: one["dns"]["state"] == "published" and "needs" not in one["dns"])
    return api


def undone(api: Byo) -> dict[str, Any]:
    """The undo sheet, without when it was made."""
    sheet = api.undo()
    return {key: value for key, value in sheet.items() if key != "madeAt"}


@pytest.mark.parametrize("forth", [True, False], ids=["to this release", "back to the release before"])
def test_a_flip_is_taken_over(
    forth: bool,
    before: dict[str, str],
    new_byo_service: Callable[..., Service],
    tree: Tree,
    with_mail: str,
    registrar: Server,
    registry: Registry,
) -> None:
    """The undo sheet and the imported records that one release stored are read by the other, which can roll back."""
    first, second = (before, {}) if forth else ({}, before)
    api = Byo(new_byo_service(**at(registrar), **first).start(), tree, with_mail)
    api.credential = {"registrar": registrar.about.name, "registrarToken": registrar.token}
    sheet = undone(moved(api))
    assert answers(tree.ours.addresses[0], with_mail, "MX") == MAIL["contents"]
    assert api.service.stop() == 0
    api.service = new_byo_service(**at(registrar), **second).start()
    found = undone(api)
    if forth:
        assert found == sheet
        assert {"name": with_mail, **MAIL} in [
            {key: value for key, value in one.items() if key != "ttl"} for one in found["records"]
        ]
    assert (found["nameservers"], found["ds"]) == (sheet["nameservers"], sheet["ds"])
    reply = api.post("/v1/rollback", fqdn=with_mail, reservationToken=api.token, **api.credential)
    assert reply.status_code in {200, 202}, reply.text
    api.until("rolled back", lambda _: sorted(registrar.domains[with_mail].nameservers) == sorted(OLD_NAMES))


def test_a_claim_is_taken_over(
    before: dict[str, str], new_byo_service: Callable[..., Service], tree: Tree, with_mail: str
) -> None:
    """A claim that was committed at the release before is proven, and served with its imported records, at this one."""
    byo = Byo(new_byo_service(**before).start(), tree, with_mail)
    byo.reserve()
    assert byo.commit(**{"import": [{"name": with_mail, "type": "MX"}]}).status_code == 202
    assert byo.service.stop() == 0
    byo.service = new_byo_service().start()
    assert byo.renewed()["dns"] == byo.get()["dns"]
    assert byo.get()["dns"]["needs"] == "proof"
    byo.prove()
    byo.until("served", lambda one: one["dns"]["state"] == "published")
    assert byo.served()
    assert answers(tree.ours.addresses[0], with_mail, "MX") == MAIL["contents"]
    assert sorted(byo.get()["nameservers"]) == sorted(PLATFORM_NAMES)
