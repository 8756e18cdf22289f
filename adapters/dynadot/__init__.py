"""Dynadot."""

from adapters.dynadot.adapter import Dynadot

__all__ = ["Dynadot"]
