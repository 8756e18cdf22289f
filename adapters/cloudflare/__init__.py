"""Cloudflare."""

from adapters.cloudflare.adapter import Cloudflare
from adapters.cloudflare.api import BASE_URL

__all__ = ["BASE_URL", "Cloudflare"]
