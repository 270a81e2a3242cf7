"""What a server loses with the end of its file is read from the file."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from ingest.contracts.stream import events_key
from scripts.bench.storm.append_only import AppendOnlyFile, appends


def packed(*words: bytes) -> bytes:
    """A command as the file has it."""
    values = b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)
    return b"*%d\r\n%b" % (len(words), values)


def an_append(shard: int, entry: str, payload: bytes) -> bytes:
    return packed(b"XADD", events_key(shard).encode(), entry.encode(), b"e", payload)


FIRST = an_append(0, "1-1", b"one")
#: What it holds looks like a command.
HELD = b"*1\r\n$4\r\nfour*2\r\n$"
SECOND = an_append(3, "2-1", HELD)
OTHER = packed(b"SET", b"key", b"value")


def test_every_entry_that_is_added_is_found() -> None:
    found = appends(FIRST + OTHER + SECOND)

    assert [(0, b"1-1", b"one"), (3, b"2-1", HELD)] == found


@pytest.mark.parametrize("torn", [1, 5, 20, len(FIRST) - 1])
def test_a_first_command_that_is_torn_is_passed_over(torn: int) -> None:
    assert [b"2-1"] == [one.entry for one in appends(FIRST[torn:] + OTHER + SECOND)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tmp_path.joinpath("appendonly.aof.1.incr.aof").write_bytes(OTHER)
    tmp_path.joinpath("appendonly.aof.10.incr.aof").write_bytes(FIRST + OTHER)
    return tmp_path


def sizes(folder: Path) -> Sequence[int]:
    return [part.stat().st_size for part in sorted(folder.iterdir())]


def test_the_newest_part_is_cut(folder: Path) -> None:
    AppendOnlyFile(folder).cut(10)

    assert [len(OTHER), len(FIRST + OTHER) - 10] == sizes(folder)


def test_what_came_since_it_was_remembered_is_taken_off(folder: Path) -> None:
    file = AppendOnlyFile(folder)
    file.remember()
    with folder.joinpath("appendonly.aof.10.incr.aof").open("ab") as newest:
        newest.write(SECOND)

    file.forget()

    assert [len(OTHER), len(FIRST + OTHER)] == sizes(folder)


def test_a_part_that_was_begun_since_is_emptied(folder: Path) -> None:
    file = AppendOnlyFile(folder)
    file.remember()
    folder.joinpath("appendonly.aof.11.incr.aof").write_bytes(SECOND)

    file.forget()

    assert [len(OTHER), len(FIRST + OTHER), 0] == sizes(folder)
