"""Dynadot."""

from adapters.dynadot.adapter import BASE_URL, Dynadot

__all__ = ["BASE_URL", "Dynadot"]
