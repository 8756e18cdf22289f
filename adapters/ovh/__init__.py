"""OVHcloud."""

from adapters.ovh.adapter import Ovh
from adapters.ovh.api import ENDPOINTS

__all__ = ["ENDPOINTS", "Ovh"]
