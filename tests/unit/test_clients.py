"""The file of callers: what makes no sense is refused."""

import pytest

from pdm_service import callers


@pytest.mark.parametrize(
    "line",
    [
        "", "# nothing", "{}", '{"id": "a"}', '{"id": "a", "sha256": "x", "scopes": ["check"]}',
        '{"id": "a", "sha256": "%s", "scopes": []}' % ("0" * 64),
        '{"id": "a", "sha256": "%s", "scopes": ["all"]}' % ("0" * 64),
        '{"id": "a b", "sha256": "%s", "scopes": ["check"]}' % ("0" * 64),
        '{"id": "anonymous", "sha256": "%s", "scopes": ["check"]}' % ("0" * 64),
        '{"id": "a", "sha256": "%s", "scopes": ["check"], "more": 1}' % ("0" * 64),
        '{"id": "a", "sha256": "%s", "serviceAccount": "a:b", "scopes": ["check"]}' % ("0" * 64),
        '{"id": "a", "serviceAccount": "b", "scopes": ["check"]}',
        '{"id": "a", "sha256": "%s", "scopes": ["check"], "quotas": {"names": -1}}' % ("0" * 64),
        '{"id": "a", "sha256": "%s", "scopes": ["check"], "expires": "2027-01-01T00:00:00"}' % ("0" * 64),
    ],
)  # fmt: skip
def test_callers_that_make_no_sense(line: str) -> None:
    """A wrong line is refused, and told by its number, without what stands in it."""
    with pytest.raises(ValueError, match=r"line 1|no client"):
        callers.read(line)
