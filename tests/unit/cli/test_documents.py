"""A document that is named on the command line is read, or refused with one sentence that says what is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from cordboard.cli.documents import MAX_BYTES, read
from cordboard.cli.failures import CommandFailed


def test_a_document_is_read_as_utf_8_with_and_without_a_mark(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    for content in (b"title: caf\xc3\xa9", b"\xef\xbb\xbftitle: caf\xc3\xa9"):
        file.write_bytes(content)
        assert read(file) == "title: café"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"a: 1\ntitle: caf\xe9\n", "not UTF-8: byte 0xe9 at line 2, column 11"),
        ("ü: ".encode() + b"\xff", "not UTF-8: byte 0xff at line 1, column 4"),
        ("slug: a".encode("utf-16"), "UTF-16; save it as UTF-8"),
        ("slug: a".encode("utf-32"), "UTF-32; save it as UTF-8"),
        (b" " * (MAX_BYTES + 1), "larger than 16 MiB"),
    ],
)
def test_what_is_no_text_of_a_fair_size_is_refused_with_its_place(tmp_path: Path, content: bytes, reason: str) -> None:
    file = tmp_path / "a.yaml"
    file.write_bytes(content)
    with pytest.raises(CommandFailed, match=reason) as refusal:
        read(file)
    assert (refusal.value.exit_code, str(refusal.value).startswith(f"{file}: ")) == (2, True)


def test_a_file_of_100_mb_takes_no_more_memory_than_the_largest_that_is_taken(tmp_path: Path) -> None:
    file = tmp_path / "huge.json"
    with file.open("wb") as sparse:
        sparse.truncate(100 * 1024 * 1024)
    with pytest.raises(CommandFailed, match="larger than 16 MiB"):
        read(file)


def test_what_is_not_there_or_no_file_is_told_in_words(tmp_path: Path) -> None:
    with pytest.raises(CommandFailed, match=r"gone\.yaml: no such file or directory$"):
        read(tmp_path / "gone.yaml")
    with pytest.raises(CommandFailed, match=r"is a directory$"):
        read(tmp_path)
