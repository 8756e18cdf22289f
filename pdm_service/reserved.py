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
    exact, patterns = _index()
    if (reason := exact.get(label)) is not None:
        return reason
    return next((reason for pattern, reason in patterns if pattern.fullmatch(label)), None)


@cache
def _index() -> tuple[dict[str, str], tuple[tuple[re.Pattern[str], str], ...]]:
    exact: dict[str, str] = {}
    patterns: dict[str, list[str]] = {}
    for reason, entries in lists().items():
        for entry in entries:
            if entry[-1] in "*#":
                tail = "[0-9]*" if entry[-1] == "#" else ".*"
                patterns.setdefault(reason, []).append(re.escape(entry[:-1]) + tail)
            else:
                exact.setdefault(entry, reason)
    joined = ((re.compile("|".join(f"(?:{part})" for part in parts)), reason) for reason, parts in patterns.items())
    return exact, tuple(joined)
