"""GoDaddy."""

from adapters.godaddy.adapter import GoDaddy
from adapters.godaddy.api import BASE_URL

__all__ = ["BASE_URL", "GoDaddy"]
