"""docs/glossary.md: in order, and the places that it names are there."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
LINES = re.findall(r"^- \*\*(.+?)\*\*(.*)$", (ROOT / "docs" / "glossary.md").read_text("utf-8"), re.MULTILINE)


def test_words_stand_in_order_and_once() -> None:
    """A reader finds a word where the alphabet has it."""
    words = [word.lower() for word, _ in LINES]
    assert words
    assert words == sorted(set(words))


def test_the_modules_that_decide_exist() -> None:
    """Where a word is said to be decided there is a module, or a document."""
    places = [place for _, text in LINES for place in re.findall(r"\[([^\]]*`[^\]]*)\]", text)]
    modules = {module for place in places for module in re.findall(r"`([\w.]+)`", place)}
    files = {
        module: [
            ROOT / base / f"{module.replace('.', '/')}{end}" for base in (".", "pdm_service") for end in (".py", "")
        ]
        for module in modules
    }
    assert modules
    assert [module for module, paths in sorted(files.items()) if not any(path.exists() for path in paths)] == []
    linked = {link for _, text in LINES for link in re.findall(r"\]\((\S+?)\)", text)}
    assert [link for link in sorted(linked) if not (ROOT / "docs" / link).exists()] == []
