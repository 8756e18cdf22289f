"""Registrars played on loopback, each by its documented behaviour: real HTTP servers with an account in them."""

import importlib
import tomllib
from pathlib import Path

from adapters.conformance.played import Server

_SETTINGS = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text("utf-8"))
CASES: dict[str, str] = dict(
    line.split(" = ") for line in _SETTINGS["tool"]["pytest"]["ini_options"]["played_registrars"]
)
"""Each registrar, and each generation of its API, with the class that plays it: where the conformance suite has them from."""

SETTERS = tuple(case for case in CASES if case != "cloudflare")
DS_SETTERS = ("dynadot-api3", "dynadot-rest", "ovh")


def play(case: str) -> Server:
    """A running server for a case."""
    module, _, name = CASES[case].partition(":")
    return getattr(importlib.import_module(module), name)()
