"""Findings: what was found about a domain, and what to do about it."""

from typing import Literal

from msgspec import Struct


class Finding(Struct, frozen=True, kw_only=True):
    """One thing that was found about a domain, and what to do about it."""

    code: str
    """Stable: `BYO-…` of the pre-flight, kebab-case of a delegation."""
    severity: Literal["block", "acknowledge", "warn", "info"]
    seen: str
    remedy: str
