"""Is a label reserved, and why. The lists are the data files in `reserved_names/`.

One file a reason. A line is a word; `word*` stands for every label that begins with it, and
`word#` for the word alone or followed by digits. `#` after a blank starts a comment.
"""

import re
from functools import cache
from importlib.resources import files


@cache
def lists() -> dict[str, tuple[str, ...]]:
    """Return the entries by reason (protocol, role, platform), as written."""
    folder = files("pdm_service") / "reserved_names"
    found = {}
    for file in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if file.name.endswith(".txt"):
            lines = (re.split(r"(?:^|\s)#", line)[0].strip() for line in file.read_text("utf-8").splitlines())
            found[file.name.removesuffix(".txt")] = tuple(line for line in lines if line)
    return found


@cache
def words() -> tuple[str, ...]:
    """Return all reserved words, sorted; a pattern is represented by its bare word."""
    return tuple(sorted({entry.rstrip("*#") for entries in lists().values() for entry in entries}))


def why(label: str) -> str | None:
    """Return the reason for which a normalised label is reserved, or None if it is free to take."""
    exact, counted, prefixes = _index()
    if (reason := exact.get(label) or counted.get(label.rstrip("0123456789"))) is not None:
        return reason
    if label.startswith(tuple(prefixes)):
        return next(reason for prefix, reason in prefixes.items() if label.startswith(prefix))
    return None


@cache
def _index() -> tuple[dict[str, str], dict[str, str], dict[str, str]]:
    """Return the reasons of whole words, of words that digits may follow, and of prefixes."""
    exact: dict[str, str] = {}
    counted: dict[str, str] = {}
    prefixes: dict[str, str] = {}
    for reason, entries in lists().items():
        for entry in entries:
            kind = {"#": counted, "*": prefixes}.get(entry[-1], exact)
            kind.setdefault(entry.rstrip("#*"), reason)
    return exact, counted, prefixes
