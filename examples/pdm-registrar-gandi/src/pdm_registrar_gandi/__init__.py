"""Gandi, as an adapter for the Pool Domain Manager."""

from adapters.entry import Entry
from pdm_registrar_gandi.adapter import Gandi
from pdm_registrar_gandi.api import BASE_URL

__all__ = ["BASE_URL", "ENTRY", "Gandi"]

ENTRY = Entry(make=lambda http, url, _: Gandi(http, url or BASE_URL))
"""What the entry point names."""
