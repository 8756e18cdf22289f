"""Names that look alike, and the file of reserved words and brands."""

import pytest

from pdm_service.names import policy


@pytest.mark.parametrize(
    ("one", "two"),
    [("omantel", "omante1"), ("omantel", "0mantel"), ("omantel", "ornantel"), ("oman-tel", "omantel"), ("west", "vvest"),
     ("cloud", "doud"), ("il", "1l"), ("api", "a-p-1")],
)  # fmt: skip
def test_labels_that_look_alike(one: str, two: str) -> None:
    """Labels that are easily mistaken for each other have one skeleton."""
    assert policy.skeleton(one) == policy.skeleton(two)


@pytest.mark.parametrize(("one", "two"), [("omantel", "omantels"), ("bank", "bunk"), ("a", "b"), ("www1", "www2")])
def test_labels_that_do_not(one: str, two: str) -> None:
    """Labels that differ at a glance have two."""
    assert policy.skeleton(one) != policy.skeleton(two)


@pytest.mark.parametrize(
    "text",
    ["platform = 'x'", "unknown = []", "platform = ['A b']", "[[brand]]\nword = 'x y'", "[[brand]]\nword = 'x'\nclient = 'c'",
     "[[brand]]\nword = 'x'\nclient = 'c'\nkey = 'short'", "not toml"],
)  # fmt: skip
def test_policy_that_makes_no_sense(text: str) -> None:
    """A file with a mistake is refused as a whole."""
    with pytest.raises(ValueError, match=r"."):
        policy.read(text)
