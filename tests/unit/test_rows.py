"""Stored values: what earlier releases wrote is read."""

from pdm_service.model.records import RRset
from pdm_service.store.rows import rrsets_of

MX = RRset(name="acme.com.", type="MX", ttl=300, contents=("10 mx.old.net.",))


def test_rrsets_of_the_release_before() -> None:
    """Its undo sheets have names without the trailing dot, its imports with it."""
    text = '[{{"name":"{}","type":"MX","ttl":300,"contents":["10 mx.old.net."]}}]'
    assert rrsets_of(text.format("acme.com")) == (MX,)
    assert rrsets_of(text.format("acme.com.")) == (MX,)
    assert rrsets_of(None) == ()
