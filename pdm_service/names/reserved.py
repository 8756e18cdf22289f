"""Is a label reserved, and why. The lists are the data files in `lists/`.

One file a reason. A line is a word; `word*` stands for every label that begins with it, and
`word#` for the word alone or followed by digits. `#` after a blank starts a comment. Words of
`abuse` count wherever they stand between hyphens, also with digits for letters.
"""

import re
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.resources import files

_ABUSE = "abuse"
_LEET = str.maketrans("01345", "oleas")


@cache
def lists() -> dict[str, tuple[str, ...]]:
    """Return the entries by reason (abuse, protocol, role, platform), as written."""
    folder = files("pdm_service.names") / "lists"
    found = {}
    for file in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if file.name.endswith(".txt"):
            lines = (re.split(r"(?:^|\s)#", line)[0].strip() for line in file.read_text("utf-8").splitlines())
            found[file.name.removesuffix(".txt")] = tuple(line for line in lines if line)
    return found


class Words:
    """The reserved words: the lists that come with the service, and what a deployment adds to them."""

    def __init__(self, added: Mapping[str, Iterable[str]] | None = None) -> None:
        more = added or {}
        self._lists = {reason: (*entries, *more.get(reason, ())) for reason, entries in lists().items()}
        self._exact: dict[str, str] = {}
        self._counted: dict[str, str] = {}
        self._prefixes: dict[str, str] = {}
        for reason, entries in self.lists().items():
            for entry in entries:
                kind = {"#": self._counted, "*": self._prefixes}.get(entry[-1], self._exact)
                kind.setdefault(entry.rstrip("#*"), reason)
        self._beginnings = tuple(self._prefixes)
        self._abuse = frozenset(self._lists[_ABUSE])
        self._bare = tuple(sorted({entry.rstrip("*#") for entries in self.lists().values() for entry in entries}))

    def lists(self) -> dict[str, tuple[str, ...]]:
        """Return the entries that everybody may see, by reason."""
        return {reason: entries for reason, entries in self._lists.items() if reason != _ABUSE}

    def bare(self) -> tuple[str, ...]:
        """Return all words that everybody may see, sorted; a pattern is represented by its bare word."""
        return self._bare

    def why(self, label: str) -> str | None:
        """Return the reason for which a normalised label is reserved, or None if it is free to take."""
        if (reason := self._exact.get(label) or self._counted.get(label.rstrip("0123456789"))) is not None:
            return reason
        if label.startswith(self._beginnings):
            return next(reason for prefix, reason in self._prefixes.items() if label.startswith(prefix))
        plain = label.translate(_LEET)
        if "-" not in label:
            return None if self._abuse.isdisjoint((label, plain)) else _ABUSE
        return None if self._abuse.isdisjoint((label, plain, *label.split("-"), *plain.split("-"))) else _ABUSE
