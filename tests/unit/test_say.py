"""What commands print of others' texts."""

import json

import pytest

from pdm_service.commands.connection import say


@pytest.mark.parametrize(
    "text", ["\x1b[31mred", "a\x07b", "a\rb", "\x7f", "\x9b1m", "a\u202eb", "\u2067", "\U000e0041", "\x00"]
)
def test_what_a_terminal_would_act_on_is_escaped(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Control characters and marks that reverse text are shown as JSON has them, so that JSON stays JSON."""
    say(json.dumps({"detail": text}, ensure_ascii=False) + "\nnext", err=True)
    printed = capsys.readouterr().err
    assert all(line.isprintable() for line in printed.splitlines())
    assert json.loads(printed.splitlines()[0]) == {"detail": text}


def test_other_writing_stays(capsys: pytest.CaptureFixture[str]) -> None:
    """Letters of any language are printed as they are."""
    say("نطاق\tö €")
    assert capsys.readouterr().out == "نطاق\\tö €\n"
