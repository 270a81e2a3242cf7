import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from ingest.directory.cache import Lru, read_snapshot, write_snapshot


def test_what_was_used_longest_ago_is_forgotten_first() -> None:
    cache: Lru[str] = Lru(2)
    cache.put("a", "1")
    cache.put("b", "2")
    cache.get("a")
    cache.put("c", "3")

    assert [("a", "1"), ("c", "3")] == cache.items()


def test_what_is_dropped_is_gone() -> None:
    cache: Lru[str] = Lru(2)
    cache.put("a", "1")

    assert [True, False] == [cache.drop("a"), cache.drop("a")]
    assert cache.get("a") is None
    assert 0 == len(cache)


def test_a_snapshot_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "edge" / "snapshot"
    write_snapshot(path, [("a", b'{"x":1}'), ("b", None)])

    assert {"a": b'{"x":1}', "b": None} == read_snapshot(path)
    assert [path] == list(path.parent.iterdir())
    assert 0o600 == path.stat().st_mode & 0o777


def test_a_snapshot_replaces_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "snapshot"
    write_snapshot(path, [("a", b"1")])
    write_snapshot(path, [("b", b"2")])

    assert {"b": b"2"} == read_snapshot(path)


def test_two_who_write_a_snapshot_at_once_are_not_in_each_others_way(
    tmp_path: Path,
) -> None:
    path = tmp_path / "snapshot"

    def interrupted() -> Iterator[tuple[str, bytes]]:
        yield "a", b"1"
        write_snapshot(path, [("b", b"2")])
        assert {"b": b"2"} == read_snapshot(path)
        yield "c", b"3"

    write_snapshot(path, interrupted())

    assert {"a": b"1", "c": b"3"} == read_snapshot(path)
    assert [path] == list(tmp_path.iterdir())


def test_a_snapshot_that_cannot_be_written_leaves_the_one_before(
    tmp_path: Path,
) -> None:
    path = tmp_path / "snapshot"
    write_snapshot(path, [("a", b"1")])

    def full() -> Iterator[tuple[str, bytes]]:
        yield "b", b"2"
        raise OSError("no space left on the device")

    with pytest.raises(OSError, match="no space"):
        write_snapshot(path, full())

    assert {"a": b"1"} == read_snapshot(path)
    assert [path] == list(tmp_path.iterdir())


def test_what_was_left_of_snapshots_long_ago_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "snapshot"
    old, new = (path.with_name(f"{path.name}.{name}") for name in ("17", "18"))
    for draft in (old, new):
        draft.write_bytes(b"[")
    now = new.stat().st_mtime
    os.utime(old, (now - 3600, now - 3600))

    write_snapshot(path, [("a", b"1")])

    assert {path, new} == set(tmp_path.iterdir())


def test_a_file_that_is_no_snapshot_says_nothing(tmp_path: Path) -> None:
    path = tmp_path / "snapshot"
    assert {} == read_snapshot(path)
    for junk in (b"\x00\xff", b"[1]\n", b'{"a":1}\n', b"7\n", b'["a","b"]\n["c",'):
        path.write_bytes(junk)
        assert {} == read_snapshot(path)
