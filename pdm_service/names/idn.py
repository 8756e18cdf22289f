"""Names as people write them: the domain that was probably meant, and how an A-label reads (IDNA 2008, RFC 5891).

A guess is only ever suggested, never taken: whoever asked says it again, in the one form that the service takes.
"""

import re
import unicodedata

import idna

_MAX_TEXT = 1000
"""Nobody types a longer name; a guess costs time that grows with the text."""
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*://|mailto:", re.IGNORECASE)
_PORT = re.compile(r":\d*$")
_BLANKS_AT_DOTS = re.compile(r"\s*\.\s*")
_OTHER_DOTS = str.maketrans("\u3002\uff0e\uff61", "...")
"""What IDNA takes for a dot besides the dot (RFC 3490 section 3.1, UTS 46 section 4)."""
_AROUND = " \t\r\n\u00a0\u200b\ufeff\"'`<>()[]\u201c\u201d\u201e\u2018\u2019\u00ab\u00bb,;"
_LIKE_LATIN = frozenset(
    "\u0430\u0435\u043e\u0440\u0441\u0443\u0445\u0456\u04bb\u0458\u04cf\u0455\u0501\u051b\u051d\u04af"  # Cyrillic
    "\u03b1\u03bf\u03bd\u03c1\u03c5"  # Greek
)
"""Letters of other scripts that nobody tells from Latin ones."""
_NEVER_MIXED = frozenset({"LATIN", "CYRILLIC", "GREEK", "ARMENIAN", "CHEROKEE", "COPTIC"})
"""Scripts with look-alikes of one another; no language writes a word in two of them."""


def host_in(text: str) -> str:
    """Return what is left of a text without that which surrounds a host name: URL, port, user, blanks, dots.

    In lower case, and each label as its A-label where it has one; "" where nothing sensible is left.
    """
    if len(text) > _MAX_TEXT:
        return ""
    found = text.strip(_AROUND).translate(_OTHER_DOTS)
    found = _SCHEME.sub("", found, count=1).lstrip("/")
    found = re.split(r"[/\\?#]", found, maxsplit=1)[0].rpartition("@")[2]
    found = _PORT.sub("", found.strip(_AROUND)).strip(_AROUND).removeprefix("*.")
    found = _BLANKS_AT_DOTS.sub(".", found).strip(".").lower()
    if found.isascii():
        return found
    try:
        return idna.encode(found, uts46=True).decode()
    except (idna.IDNAError, UnicodeError):
        return ""


def unicode(domain: str) -> str | None:
    """Return a domain as people read it; None where it has no A-label, or where reading it could mislead.

    So is a domain with a label that is no valid A-label (RFC 5890 section 2.3.2.1), that does not come back the same,
    or that looks like another one by letters of another script.
    """
    if "xn--" not in domain:  # most have none, and each reply asks
        return None
    labels = domain.split(".")
    if not any(label.startswith("xn--") for label in labels):
        return None
    try:
        found = [idna.ulabel(label) if label.startswith("xn--") else label for label in labels]
        same = [idna.alabel(label).decode() for label in found if not label.isascii()]
    except (idna.IDNAError, UnicodeError):
        return None
    if same != [label for label in labels if label.startswith("xn--")] or any(map(_misleads, found)):
        return None
    return ".".join(found)


def _misleads(label: str) -> bool:
    """Return whether a label mixes scripts with look-alikes, or is written in look-alikes of Latin letters alone."""
    letters = [letter for letter in label if letter.isalpha()]
    scripts = {unicodedata.name(letter, "").partition(" ")[0] for letter in letters}
    return len(scripts & _NEVER_MIXED) > 1 or (bool(letters) and _LIKE_LATIN.issuperset(letters))
