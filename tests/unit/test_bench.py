"""What the benchmark derives from the service's own statements follows them; a bound is on what its line says."""

import pytest

from bench.measure import Line, table
from bench.reserve import script


def test_every_parameter_of_reserve_has_a_value() -> None:
    """The statement that pgbench runs has no parameter left."""
    assert "$" not in script()


@pytest.mark.parametrize(("of_ratio", "passed", "bound"), [(True, True, "≤ 3 "), (False, False, "≤ 3 s")])
def test_a_bound_is_on_the_ratio_or_on_our_own_value(of_ratio: bool, passed: bool, bound: str) -> None:
    """The ratio is told in both cases."""
    line = Line(what="start", unit="s", ours=[4.0], bare=[2.0], bound=3, of_ratio=of_ratio)
    assert line.passed is passed
    assert "2.00" in table([line])
    assert bound in table([line])
