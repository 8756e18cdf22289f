"""A live file: read again when it changes, once a second at most; a version that makes no sense changes nothing."""

import logging
import os
from pathlib import Path
from time import monotonic

import pytest

from pdm_service.settings import live_file
from pdm_service.settings.live_file import LiveFile, LiveFiles, content


class Watched:
    """A file of one number, and whether each reading of it was usable."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.usable: list[bool] = []
        self.write("1")
        self.file = LiveFile(path, int, self.usable.append)

    def write(self, text: str) -> None:
        self.path.write_text(text, "utf-8")

    def read(self) -> int:
        """What the file says, once its pause is over."""
        self.file._next = 0.0
        return self.file()


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    return Watched(tmp_path / "number")


def test_it_is_read_at_once(watched: Watched) -> None:
    """The first reading is that of the start, and is told."""
    assert (watched.file(), watched.usable) == (1, [True])


def test_it_is_read_again_when_it_changes(watched: Watched) -> None:
    """What the file says now counts from its next use on."""
    watched.write("22")
    assert watched.read() == 22
    assert watched.usable == [True, True]


def test_a_change_of_the_same_length(watched: Watched) -> None:
    """A version of the same length is told from the one before by its time."""
    watched.write("2")
    os.utime(watched.path, ns=(1, 1))
    assert watched.read() == 2


def test_a_file_that_takes_its_place(watched: Watched) -> None:
    """Another file under the name, as a Kubernetes volume has it, is read though its time and length be the same."""
    stat = watched.path.stat()
    other = watched.path.with_name("other")
    other.write_text("2", "utf-8")
    os.utime(other, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    other.replace(watched.path)
    assert watched.read() == 2


def test_once_a_second_at_most(watched: Watched) -> None:
    """Within a second of a look nothing is looked at; the next pause begins with the look."""
    watched.write("22")
    watched.file._next = monotonic() + 60
    assert (watched.file(), watched.usable) == (1, [True])
    before = monotonic()
    assert watched.read() == 22
    assert before + 1 <= watched.file._next <= monotonic() + 1


def test_what_did_not_change_is_not_parsed_again(tmp_path: Path) -> None:
    """Each version is parsed once, however often it is used; each look is told."""
    parsed: list[str] = []
    watched = Watched(tmp_path / "number")
    watched.file = LiveFile(watched.path, lambda text: parsed.append(text) or len(parsed), watched.usable.append)
    assert [watched.read() for _ in range(3)] == [1, 1, 1]
    watched.write("22")
    assert [watched.read() for _ in range(3)] == [2, 2, 2]
    assert (parsed, watched.usable) == (["1", "22"], [True] * 8)


def test_a_version_that_makes_no_sense(watched: Watched, caplog: pytest.LogCaptureFixture) -> None:
    """The version before stays in force, the log says which file and why, and each look tells it until it is put right."""
    watched.write("one")
    with caplog.at_level(logging.INFO):
        assert [watched.read(), watched.read()] == [1, 1]
    assert watched.usable == [True, False, False]
    assert caplog.records[0].levelno == logging.ERROR
    assert caplog.records[0].fields["file"] == "number"
    assert "one" in caplog.records[0].fields["error"]
    watched.write("22")
    assert (watched.read(), watched.usable[-1]) == (22, True)


def test_a_file_that_is_away(watched: Watched) -> None:
    """While the file is away its last version stays in force; the same one is in order again when it is back."""
    away = watched.path.with_name("away")
    watched.path.rename(away)
    assert (watched.read(), watched.usable[-1]) == (1, False)
    away.rename(watched.path)
    assert (watched.read(), watched.usable[-1]) == (1, True)


@pytest.mark.parametrize("data", [b"\xff", b"1" * (live_file._MAX_BYTES + 1)])
def test_what_is_no_text_or_too_long(watched: Watched, data: bytes) -> None:
    """A file that is no UTF-8, or longer than 4 MiB, is none of the things that it is read for."""
    watched.path.write_bytes(data)
    with pytest.raises(ValueError, match=r"decode|longer"):
        content(watched.path, len)
    assert (watched.read(), watched.usable[-1]) == (1, False)


def test_the_longest_file(tmp_path: Path) -> None:
    """A file of 4 MiB is read whole."""
    path = tmp_path / "long"
    path.write_bytes(b"1" * live_file._MAX_BYTES)
    assert content(path, len) == live_file._MAX_BYTES


def test_a_start_without_a_usable_file(tmp_path: Path) -> None:
    """There is no version before the first: what is wrong with it is raised to whoever starts the service."""
    path = tmp_path / "number"
    usable: list[bool] = []
    with pytest.raises(OSError, match="number"):
        LiveFile(path, int, usable.append)
    path.write_text("one", "utf-8")
    with pytest.raises(ValueError, match="one"):
        LiveFile(path, int, usable.append)
    assert usable == []


def test_files_that_belong_together(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A change of one has all of them read again; while they do not fit together, the versions before stay in force."""
    one, other = tmp_path / "one", tmp_path / "other"

    def pair() -> str:
        found = one.read_text(), other.read_text()
        if found[0] != found[1]:
            raise ValueError(f"{found[0]} is not {found[1]}")
        return found[0]

    def write(path: Path, text: str) -> str:
        path.write_text(text, "utf-8")
        files._next = 0.0
        return files()

    one.write_text("a", "utf-8")
    other.write_text("a", "utf-8")
    usable: list[bool] = []
    files = LiveFiles((one, other), pair, usable.append)
    assert [write(other, "bb"), write(one, "bb")] == ["a", "bb"]
    assert usable == [True, False, True]
    assert [record.fields["file"] for record in caplog.records if record.levelno == logging.ERROR] == ["one, other"]
