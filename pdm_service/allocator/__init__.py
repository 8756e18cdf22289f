"""The verbs: what callers may do with names. `Allocator` is the one door to them."""

from pdm_service.allocator.allocator import Allocator, Undo
from pdm_service.allocator.orders import Commit, Committed, Registrar, Release, Terms
from pdm_service.allocator.pool_names import Verdict
from pdm_service.allocator.reservations import Held

__all__ = ["Allocator", "Commit", "Committed", "Held", "Registrar", "Release", "Terms", "Undo", "Verdict"]
