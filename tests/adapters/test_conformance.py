"""Our own adapters in the suite that everybody's adapters run through: adapters/conformance/test_adapter.py."""

import pytest

from adapters.conformance import plugin
from adapters.conformance.test_adapter import *  # noqa: F403
from tests.registrars import CASES, DS_SETTERS, SETTERS


def test_who_is_tested_in_what(pytestconfig: pytest.Config) -> None:
    """No adapter is left out of what it can do."""
    found = plugin.able(pytestconfig)
    assert set(found) == set(CASES)
    assert {case for case in CASES if "sets nameservers" in found[case]} == {*SETTERS}
    assert {case for case in CASES if "sets no nameservers" in found[case]} == {"cloudflare"}
    assert {case for case in CASES if "tells progress" in found[case]} == {"godaddy-pat", "ovh"}
    assert {case for case in CASES if "may be busy" in found[case]} == {
        "dynadot-api3",
        "dynadot-rest",
        "godaddy-key",
        "godaddy-pat",
    }
    assert {case for case in CASES if "sets DS" in found[case]} == {*DS_SETTERS}
    assert {case for case in CASES if "reads DS" in found[case]} == {
        "cloudflare",
        "dynadot-api3",
        "dynadot-rest",
        "ovh",
    }
