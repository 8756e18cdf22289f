"""GoDaddy."""

from adapters.godaddy.adapter import GoDaddy

__all__ = ["GoDaddy"]
