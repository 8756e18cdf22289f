"""What the guard of the pool domains decides."""

import pytest

from adapters.base import Ds
from pdm_service.pools.registration import Seen, SetDs, SetNameservers, plan

OURS, THEIRS = ("ns1.platform.test", "ns2.platform.test"), ("ns1.old.test", "ns2.old.test")
A, B, C = (Ds(tag, 13, 2, f"{tag:064x}") for tag in (1, 2, 3))


@pytest.mark.parametrize(
    ("what", "nameservers", "found", "wanted", "may_sign", "sets_ds", "steps"),
    [
        ("all in order", OURS, (A,), (A,), True, True, []),
        ("no DS told", OURS, None, (A,), True, False, []),
        ("DS missing", OURS, (), (A,), True, True, [SetDs((A,))]),
        ("DS missing, the nameservers just changed", OURS, (), (A,), False, True, []),
        ("DS missing, cannot be set", OURS, (), (A,), True, False, []),
        ("one of two DS missing", OURS, (A,), (A, B), True, True, [SetDs((A, B))]),
        ("one DS too many, harmless", OURS, (A, C), (A,), True, True, []),
        ("a foreign DS alone makes the domain bogus", OURS, (C,), (A,), True, True, [SetDs((A,))]),
        ("a foreign DS alone, the nameservers just changed", OURS, (C,), (A,), False, True, [SetDs((A,))]),
        ("keys not known", OURS, (), (), True, True, []),
        ("keys not known, a DS there", OURS, (C,), (), True, True, []),
        ("other nameservers, no DS", THEIRS, (), (A,), True, True, [SetNameservers()]),
        ("other nameservers, our DS", THEIRS, (A,), (A,), True, True, [SetNameservers()]),
        ("other nameservers, a foreign DS goes first", THEIRS, (C,), (A,), True, True, [SetDs(()), SetNameservers()]),
        ("other nameservers, ours and a foreign DS", THEIRS, (A, C), (A,), True, True, [SetDs((A,)), SetNameservers()]),
        ("other nameservers, a foreign DS that cannot be set", THEIRS, (C,), (A,), True, False, [SetNameservers()]),
        ("one nameserver missing", OURS[:1], (A,), (A,), True, True, [SetNameservers()]),
    ],
)  # fmt: skip
def test_plan(
    what: str, nameservers: tuple[str, ...], found: tuple[Ds, ...] | None, wanted: tuple[Ds, ...], may_sign: bool,
    sets_ds: bool, steps: list[SetDs | SetNameservers],
) -> None:  # fmt: skip
    """Only what differs is changed, and never so that the domain is bogus on the way."""
    assert plan(Seen(nameservers, found), OURS, wanted, may_sign=may_sign, sets_ds=sets_ds) == steps, what
