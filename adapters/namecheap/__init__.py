"""Namecheap."""

from adapters.namecheap.adapter import Namecheap

__all__ = ["Namecheap"]
