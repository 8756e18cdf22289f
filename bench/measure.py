"""What a measurement gives: a line of numbers with its bound. Nothing is measured here."""

import sys
from statistics import median

import msgspec


class Effort(msgspec.Struct, frozen=True, kw_only=True):
    """How much is done in one run of each measurement."""

    runs: int = 5
    slices: int = 4
    """Of one second of load, for each side of a throughput, in turns."""
    pairs: int = 20
    """Commits one after the other, for each side."""
    burst: int = 96
    """Commits in one burst of 32 at once, for each side."""
    filled: int = 100_000
    """Allocations in the database when names are checked."""
    delegations: int = 20_000
    """Delegations in the big parent zone."""
    watched: int = 200
    """Customers' domains whose delegations are observed."""
    flooded: int = 100
    """Domains with silent nameservers that another client claims."""
    window: float = 30.0
    """Seconds for which that is counted."""


QUICK = Effort(runs=2, slices=2, pairs=10, burst=64, filled=20_000, delegations=5_000)
SMOKE = Effort(runs=1, slices=1, pairs=2, burst=4, filled=100, delegations=50, watched=5, flooded=4, window=1)


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the table: values by run, of ours and of what it is held against."""

    what: str
    unit: str
    ours: list[float]
    bare: list[float] = []
    """Empty where the bound is on the value itself."""
    bound: float | None
    at_least: bool = False
    of_ratio: bool = True
    """Where there are both, the bound is on the ratio; else on our own value."""
    note: str = ""

    @property
    def ratios(self) -> list[float]:
        """Ours to bare, run by run: what slows the machine in a run slows both."""
        return [ours / bare for ours, bare in zip(self.ours, self.bare, strict=True)] if self.bare else []

    @property
    def bounded(self) -> list[float]:
        """What the bound is on, run by run."""
        return (self.of_ratio and self.ratios) or self.ours

    @property
    def passed(self) -> bool:
        """Tell whether the bound is kept; a line without one always passes."""
        found = median(self.bounded)
        return self.bound is None or (found >= self.bound if self.at_least else found <= self.bound)


def progress(text: str) -> None:
    """Tell on standard error what is under way."""
    print(f"bench: {text}", file=sys.stderr, flush=True)


def table(lines: list[Line]) -> str:
    """Return the lines as a table, with their notes below."""
    rows: list[tuple[str, ...]] = [("", "ours", "bare", "ratio", "(lowest to highest)", "bound", "")]
    rows += [_row(line) for line in lines]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    texts = [
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:6], widths[1:6]), row[6]]).rstrip() for row in rows
    ]
    notes = [f"  {line.what}: {line.note}" for line in lines if line.note]
    return "\n".join([texts[0], "-" * max(map(len, texts)), *texts[1:], "", *notes])


def _row(line: Line) -> tuple[str, ...]:
    sign = "≥" if line.at_least else "≤"
    unit = f" {line.unit}" if line.bounded is line.ours else ""
    bound = "" if line.bound is None else f"{sign} {line.bound:g}{unit}"
    spread = line.ratios or line.ours
    return (
        line.what,
        f"{_number(median(line.ours))} {line.unit}",
        f"{_number(median(line.bare))} {line.unit}" if line.bare else "",
        f"{median(line.ratios):.2f}" if line.ratios else "",
        f"{_number(min(spread))} to {_number(max(spread))}",
        bound,
        "" if line.bound is None else "pass" if line.passed else "MISSED",
    )


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
