"""Reserved labels: the lists themselves, and what they say of a label."""

from importlib.resources import files

import pytest

from pdm_service import names
from pdm_service.errors import InvalidFormat
from pdm_service.names import reserved

WORDS = reserved.Words()
KNOWN_TO_CLIENTS = [
    "admin",
    "api",
    "app",
    "catalyst",
    "console",
    "docs",
    "flux",
    "gitea",
    "harbor",
    "imap",
    "k8s",
    "keycloak",
    "mail",
    "openbao",
    "openova",
    "smtp",
    "status",
    "system",
    "vault",
    "vpn",
    "www",
]
LISTS = sorted(file.name for file in (files("pdm_service.names") / "lists").iterdir() if file.name.endswith(".txt"))


def entries(file: str) -> list[str]:
    """The lines of a list that are neither empty nor comments, in the file's order."""
    text = (files("pdm_service.names") / "lists" / file).read_text("utf-8")
    return [line.split(" ")[0] for line in text.splitlines() if line.strip() and not line.startswith("#")]


@pytest.mark.parametrize("word", KNOWN_TO_CLIENTS)
def test_word_that_clients_know(word: str) -> None:
    """The 21 words that clients know as reserved are reserved, and are told as such."""
    assert len(KNOWN_TO_CLIENTS) == 21
    assert WORDS.why(word)
    assert word in WORDS.bare()


@pytest.mark.parametrize("file", LISTS)
def test_list_file_in_order(file: str) -> None:
    """Every list is sorted and holds no line twice."""
    assert sorted(set(entries(file))) == entries(file)


def test_lists_as_read() -> None:
    """The lists read are the files, comments left out, by reason."""
    assert {file.removesuffix(".txt"): tuple(entries(file)) for file in LISTS} == reserved.lists()


def test_word_in_one_list_only() -> None:
    """No word stands in two lists, also not once as a word and once as a pattern."""
    found = [entry.rstrip("*#") for file in LISTS for entry in entries(file)]
    assert sorted(set(found)) == sorted(found)


@pytest.mark.parametrize("word", WORDS.bare())
def test_word_is_a_possible_label(word: str) -> None:
    """A word that no caller could ask for has no business in a list."""
    assert word == names.label(word)


def test_words_sorted() -> None:
    """The words that are told are sorted, bare of patterns and without repeats."""
    assert sorted(set(WORDS.bare())) == list(WORDS.bare())
    assert not any(set(word) & set("*# ") for word in WORDS.bare())


def test_word_covered_by_a_pattern() -> None:
    """A word that a pattern of another line covers already does not stand in a list of its own."""
    prefixes = {entry.rstrip("*") for file in LISTS for entry in entries(file) if entry.endswith("*")}
    covered = [
        entry for file in LISTS for entry in entries(file)
        if not entry.endswith("*") and entry.startswith(tuple(prefixes))
    ]  # fmt: skip
    assert covered == []


@pytest.mark.parametrize(
    ("label", "reason"),
    [
        ("www", "role"), ("console", "platform"), ("localhost", "protocol"), ("ns", "protocol"), ("ns1", "protocol"),
        ("ns01", "protocol"), ("mx10", "protocol"), ("dns", "protocol"), ("dnsmasq", "protocol"),
        ("mail2", "protocol"), ("nsx", None), ("wwww", None), ("admin1", None), ("omantel", None), ("n1s", None),
        ("a", None), ("adns", None),
    ],
)  # fmt: skip
def test_reason_of_a_label(label: str, reason: str | None) -> None:
    """A word is reserved as it stands, `word#` also with digits behind it, `word*` with anything behind it."""
    assert reason == WORDS.why(label)


def test_pattern_only_of_the_two_kinds() -> None:
    """A line is a word, `word#` or `word*`."""
    for file in LISTS:
        for entry in entries(file):
            bare = entry[:-1] if entry[-1] in "*#" else entry
            try:
                names.label(bare)
            except InvalidFormat as error:
                raise AssertionError(entry) from error
