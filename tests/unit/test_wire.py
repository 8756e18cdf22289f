"""Wire: no reply holds a null, and names are spelled as in the contract."""

import types
import typing
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, Literal

import msgspec
import pytest

from pdm_service import wire

MOMENT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def subclasses(base: type) -> list[type]:
    """All classes of the module below `base`."""
    return [one for one in vars(wire).values() if isinstance(one, type) and issubclass(one, base) and one is not base]


REPLIES = subclasses(wire.Reply)
REQUESTS = [
    one for base in (wire.V1Request, wire.CompatRequest) for one in subclasses(base)
]  # fmt: skip


def nullable(kind: object) -> bool:
    """Does a type admit None?"""
    return type(None) in typing.get_args(kind) if typing.get_origin(kind) in {types.UnionType, typing.Union} else False


def value(kind: Any) -> object:
    """Some value of a type that replies use."""
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin in {types.UnionType, typing.Union}:
        return value(next(one for one in args if one is not type(None)))
    if origin is Literal:
        return args[0]
    if origin is list:
        return [value(args[0])]
    if origin is dict:
        return {"key": value(args[1])}
    if kind in {str, int, bool}:
        return kind(1)
    return MOMENT if kind is datetime else least(kind)


def least(kind: type) -> Any:
    """An instance with nothing but what is required."""
    hints = typing.get_type_hints(kind)
    required = [one for one in msgspec.structs.fields(kind) if one.required]
    return kind(**{one.name: value(hints[one.name]) for one in required})


@pytest.mark.parametrize("kind", REPLIES)
def test_reply_without_what_does_not_apply(kind: type) -> None:
    """What does not apply is left out of a reply rather than told as null."""
    encoded = msgspec.json.encode(least(kind))
    assert b"null" not in encoded
    required = {one.encode_name for one in msgspec.structs.fields(kind) if one.required}
    assert required == set(msgspec.json.decode(encoded))


@pytest.mark.parametrize("kind", REPLIES)
def test_reply_field_that_may_be_missing(kind: type) -> None:
    """A field admits None exactly when it may be left out; so there is no way to encode a null but the contract's."""
    assert kind.__struct_config__.omit_defaults
    hints = typing.get_type_hints(kind)
    for one in msgspec.structs.fields(kind):
        assert nullable(hints[one.name]) == (not one.required) or one.name == "can_set_nameservers", one.name
        assert one.required or one.default is None, one.name


@pytest.mark.parametrize("kind", REPLIES)
def test_reply_field_that_is_empty(kind: type) -> None:
    """A required list or text that happens to be empty is told."""
    hints = typing.get_type_hints(kind)
    whole = {one.name: value(hints[one.name]) for one in msgspec.structs.fields(kind)}
    empty = {name: type(found)() if isinstance(found, (list, str)) else found for name, found in whole.items()}
    told = msgspec.json.decode(msgspec.json.encode(kind(**empty)))
    assert set(told) == {one.encode_name for one in msgspec.structs.fields(kind)}


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (
            wire.AllocationReply,
            "fqdn unicode mode poolDomain subdomain state createdBy reservedAt expiresAt committedAt sovereignFQDN "
            "loadBalancerIPs loadBalancerIP nameservers dnssec dns proof challenge keepUntil reservationToken "
            "tenant warning problems",
        ),
        (wire.DnsStatus, "state needs lastError updatedAt"),
        (wire.Dnssec, "ds publish"),
        (wire.AllocationPage, "allocations nextCursor"),
        (wire.CheckReply, "available reason detail fqdn unicode suggestion warning"),
        (
            wire.CompatReservation,
            "poolDomain subdomain state reservedAt expiresAt reservationToken createdBy",
        ),
        (wire.CompatFreed, "freed warning"),
        (wire.CompatList, "poolDomain allocations"),
        (wire.CompatReservedReply, "reserved"),
        (wire.Health, "status managedDomains registrars"),
        (wire.Problem, "error detail type title status supported problems suggestion"),
        (
            wire.ValidateReply,
            "valid registrar domain unicode nameservers canSetNameservers warnings problems records zonefile",
        ),
        (wire.SetNsReply, "success registrar domain unicode nameservers propagation pending"),
        (
            wire.CommitRequest,
            "fqdn poolDomain subdomain reservationToken loadBalancerIP loadBalancerIPs sovereignFQDN",
        ),
        (wire.CompatReserveRequest, "subdomain createdBy"),
        (wire.CompatCommitRequest, "subdomain reservationToken sovereignFQDN loadBalancerIP"),
        (wire.CompatReleaseRequest, "subdomain"),
    ],
)
def test_names_of_the_contract(kind: type, expected: str) -> None:
    """The fields that clients rely on are there, spelled as in the contract."""
    found = {one.encode_name for one in msgspec.structs.fields(kind)}
    assert set(expected.split()) <= found
    assert kind not in REPLIES or set(expected.split()) == found


@pytest.mark.parametrize("kind", [*REPLIES, *REQUESTS])
def test_names_in_camel_case(kind: type) -> None:
    """No field goes over the wire in snake case."""
    for one in msgspec.structs.fields(kind):
        assert "_" not in one.encode_name
        assert one.encode_name[0].islower()


@pytest.mark.parametrize("kind", REQUESTS)
def test_unknown_field_of_a_request(kind: type) -> None:
    """An unknown field is refused by name on /v1, and ignored on the compatibility routes."""
    body = msgspec.json.encode({**msgspec.json.decode(msgspec.json.encode(least(kind))), "colour": None})
    if issubclass(kind, wire.V1Request):
        with pytest.raises(msgspec.ValidationError, match="colour"):
            msgspec.json.decode(body, type=kind)
    else:
        assert least(kind) == msgspec.json.decode(body, type=kind)


def test_times_with_a_z() -> None:
    """Times of UTC are told in RFC 3339 with a Z."""
    event = wire.EventReply(at=MOMENT, action="reserved", actor="api")
    assert msgspec.json.decode(msgspec.json.encode(event))["at"] == "2026-01-02T03:04:05Z"
    elsewhere = MOMENT.astimezone(timezone(timedelta(hours=4)))
    assert not msgspec.json.encode(elsewhere).endswith(b'Z"'), "so the store must hand out UTC"


def test_token_in_no_reply_but_the_reservations() -> None:
    """Only the allocation and the compatibility reservation have a place for a token; registrars tell of its form."""
    fields = {(kind, one.encode_name) for kind in REPLIES for one in msgspec.structs.fields(kind)}
    assert {(kind, name) for kind, name in fields if "token" in name.lower()} == {
        (wire.AllocationReply, "reservationToken"),
        (wire.CompatReservation, "reservationToken"),
        (wire.RegistrarReply, "tokenForm"),
        (wire.RegistrarReply, "tokenUrl"),
    }
