"""What the benchmark derives from the service's own statements follows them."""

from bench.reserve import script


def test_every_parameter_of_reserve_has_a_value() -> None:
    """The statement that pgbench runs has no parameter left."""
    assert "$" not in script()
