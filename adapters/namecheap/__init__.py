"""Namecheap."""

from adapters.namecheap.adapter import Namecheap
from adapters.namecheap.api import BASE_URL

__all__ = ["BASE_URL", "Namecheap"]
