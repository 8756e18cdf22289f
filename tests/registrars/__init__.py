"""Registrars played on loopback, each by its documented behaviour: real HTTP servers with an account in them."""

import importlib

from tests.registrars.server import Server

CASES = {
    "cloudflare": "cloudflare:Cloudflare",
    "dynadot-api3": "dynadot:Api3",
    "dynadot-rest": "dynadot:Rest",
    "godaddy-key": "godaddy:ByKey",
    "godaddy-pat": "godaddy:ByToken",
    "namecheap": "namecheap:Namecheap",
    "ovh": "ovh:Ovh",
}
"""Each registrar, and each generation of its API, with the class that plays it."""

SETTERS = tuple(case for case in CASES if case != "cloudflare")
BUSY = ("dynadot-api3", "dynadot-rest", "godaddy-key", "godaddy-pat")
"""Those that take no second request while one is under way."""
DS_READERS = ("cloudflare", "dynadot-api3", "dynadot-rest", "ovh")
DS_SETTERS = ("dynadot-api3", "dynadot-rest", "ovh")
FOLLOWED = ("godaddy-pat", "ovh")
"""Those that may answer before a change is made, and tell how it goes on."""


def play(case: str) -> Server:
    """A running server for a case."""
    module, _, name = CASES[case].partition(":")
    return getattr(importlib.import_module(f"tests.registrars.{module}"), name)()
