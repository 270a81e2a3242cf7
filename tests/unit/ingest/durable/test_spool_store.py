"""Spooled events on a real file system, and the stores beside each other."""

import errno
import os
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from uuid import UUID

import pytest

from ingest.durable.spool import store as module
from ingest.durable.spool.directory import (
    LockedSpool,
    SpoolDirectory,
    contents,
    damaged,
    is_in_use,
    stores,
    tally,
)
from ingest.durable.spool.files import OsFiles
from ingest.durable.spool.records import (
    DamagedBytes,
    SpoolItem,
    SpoolRecord,
    encode,
    scan,
)
from ingest.durable.spool.store import SpoolDamaged, SpoolFull, SpoolStore

ROOM = 1 << 20
_NUMBERS = count(1)


def items(number: int) -> list[SpoolItem]:
    return [SpoolItem(UUID(int=next(_NUMBERS)), b'{"v":1}') for _ in range(number)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "edge-1"
    made.mkdir()
    return made


def a_store(folder: Path, damages: list[SpoolDamaged] | None = None) -> SpoolStore:
    return SpoolStore(OsFiles(), folder, ([] if damages is None else damages).append)


def emptied(store: SpoolStore) -> Iterator[SpoolItem]:
    while kept := store.take(2):
        yield from (one.item for one in kept)
        store.remove({one.place for one in kept})


def test_events_come_out_as_they_went_in_and_leave_nothing(folder: Path) -> None:
    store, given = a_store(folder), items(5)
    store.append(given[:2], ROOM)
    store.append(given[2:], ROOM)

    assert given == [*emptied(store)]
    assert store.is_empty
    assert 0 == store.bytes
    assert [] == [*folder.glob("*.events")]


def test_what_is_not_removed_is_taken_again(folder: Path) -> None:
    store, given = a_store(folder), items(3)
    store.append(given, ROOM)
    kept = store.take(3)
    store.remove({kept[1].place})

    assert [given[0], given[2]] == [one.item for one in store.take(3)]
    assert [given[0], given[2]] == [one.item for one in store.take(3)]


def test_another_run_goes_on_where_the_last_one_was(folder: Path) -> None:
    store, given = a_store(folder), items(4)
    store.append(given, ROOM)
    store.remove({one.place for one in store.take(3)})

    again = a_store(folder)
    more = items(2)
    again.append(more, ROOM)

    assert [given[3], *more] == [*emptied(again)]


def test_a_number_is_not_used_twice(folder: Path) -> None:
    store = a_store(folder)
    store.append(items(2), ROOM)
    store.remove({one.place for one in store.take(1)})
    store.remove({one.place for one in store.take(1)})

    again, given = a_store(folder), items(3)
    again.append(given, ROOM)

    assert given == [*emptied(again)]


def test_a_damaged_position_is_never_believed_again(folder: Path) -> None:
    store = a_store(folder)
    store.append(items(2), ROOM)
    store.remove({one.place for one in store.take(1)})
    [segment], position = folder.glob("*.events"), folder / "removed"
    segment.unlink()
    intact = position.read_bytes()
    position.write_bytes(intact[:-1] + bytes([intact[-1] ^ 1]))
    given = items(1)
    a_store(folder).append(given, ROOM)

    assert not position.exists()
    assert given == [*emptied(a_store(folder))]


def test_a_group_without_room_is_refused_whole(folder: Path) -> None:
    store, given = a_store(folder), items(2)
    size = len(encode(given[0]))
    with pytest.raises(SpoolFull):
        store.append(given, 2 * size - 1)
    store.append(given, 2 * size)

    assert 2 * size == store.bytes


def test_a_torn_tail_is_reported_and_put_aside(folder: Path) -> None:
    given = items(2)
    store = a_store(folder)
    store.append(given, ROOM)
    [segment] = folder.glob("*.events")
    segment.write_bytes(segment.read_bytes() + encode(items(1)[0])[:-1])

    damages: list[SpoolDamaged] = []
    assert given == [*emptied(a_store(folder, damages))]

    [damage] = damages
    assert len(encode(given[0])) - 1 == damage.end - damage.start
    assert [damage.aside] == [*damaged(folder.parent)]
    assert damage.aside.stat().st_size == damage.end


def test_a_damage_is_remembered_by_the_next_run(folder: Path) -> None:
    given = items(3)
    a_store(folder).append(given, ROOM)
    [segment] = folder.glob("*.events")
    raw = bytearray(segment.read_bytes())
    raw[5] ^= 1
    segment.write_bytes(raw)

    store = a_store(folder)
    store.remove({store.take(1)[0].place})
    assert [given[2]] == [*emptied(a_store(folder))]

    assert 1 == len(damaged(folder.parent))


def test_records_behind_a_bad_one_are_found() -> None:
    given = items(3)
    raw = [encode(item) for item in given]
    size = len(raw[0])
    broken = raw[0] + raw[1][:-1] + raw[2]

    found = [*scan(broken, 100)]

    assert [
        SpoolRecord(100, 100 + size, given[0]),
        DamagedBytes(100 + size, 99 + 2 * size),
        SpoolRecord(99 + 2 * size, 99 + 3 * size, given[2]),
    ] == found


# Stores beside each other ----------------------------------------------------------------


@pytest.fixture
def home(tmp_path: Path) -> SpoolDirectory:
    return SpoolDirectory(tmp_path / "spool", lambda _: None)


def filled(home: SpoolDirectory, number: int) -> tuple[LockedSpool, list[SpoolItem]]:
    held, given = home.open_own(), items(number)
    held.store.append(given, ROOM)
    return held, given


def test_a_store_in_use_is_not_adopted_and_can_be_looked_into(
    home: SpoolDirectory,
) -> None:
    held, given = filled(home, 3)

    assert [] == [*home.adopt()]
    assert is_in_use(held.store.folder)
    assert given == [*contents(held.store.folder)]
    assert given == [*emptied(held.store)]
    held.leave()
    assert [] == stores(home.root)


def test_a_store_that_was_left_is_adopted_once(home: SpoolDirectory) -> None:
    held, given = filled(home, 3)
    held.leave()
    assert not is_in_use(held.store.folder)

    [heir] = home.adopt()

    assert [] == [*home.adopt()]
    assert given == [*emptied(heir.store)]
    heir.leave()
    assert [] == stores(home.root)


def test_without_a_spool_there_is_nothing(tmp_path: Path) -> None:
    assert [] == stores(tmp_path / "none")
    assert [] == damaged(tmp_path / "none")
    assert [] == [*SpoolDirectory(tmp_path / "none", lambda _: None).adopt()]


def test_what_the_disk_cannot_read_any_more_costs_only_what_is_there(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = [SpoolItem(UUID(int=next(_NUMBERS)), b"x" * 1000) for _ in range(12)]
    a_store(folder).append(given, ROOM)
    read = os.pread

    def with_a_bad_block(descriptor: int, count: int, start: int) -> bytes:
        if start <= 4096 < start + count:
            raise OSError(errno.EIO, "Input/output error")
        return read(descriptor, count, start)

    monkeypatch.setattr(os, "pread", with_a_bad_block)
    damages: list[SpoolDamaged] = []
    found = [*emptied(a_store(folder, damages))]

    # Records have 1028 bytes: those that reach into the second block of 4096 are gone.
    assert given[:3] + given[8:] == found
    assert [(3 * 1028, 8 * 1028)] == [(one.start, one.end) for one in damages]
    assert 1 == len(damaged(folder.parent))


@pytest.mark.parametrize("size", range(20))
def test_a_position_that_was_cut_off_is_none(size: int, folder: Path) -> None:
    store, given = a_store(folder), items(3)
    store.append(given, ROOM)
    store.remove({one.place for one in store.take(2)})
    position = folder / "removed"
    position.write_bytes(position.read_bytes()[:size])

    assert given == [*emptied(a_store(folder))]


# Counting --------------------------------------------------------------------------------


def test_what_waits_is_counted_as_it_would_be_read(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_SEGMENT_BYTES", 200)
    store = a_store(folder)
    assert (0, 0, None) == tally(folder)
    for _ in range(10):
        store.append(items(7), ROOM)
    store.remove({kept.place for kept in store.take(23)})

    left = [*contents(folder)]
    assert (47, 47 * 7, left[0].event_id) == tally(folder)
    (segment, *_) = sorted(folder.glob("*.events"))[2:]
    raw = bytearray(segment.read_bytes())
    raw[1] ^= 1
    segment.write_bytes(raw)
    assert len([*contents(folder)]) == tally(folder).events == 46


def test_of_much_that_waits_the_number_is_an_estimate(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_SEGMENT_BYTES", 400)
    monkeypatch.setattr(module, "_COUNTED", 1000)
    store = a_store(folder)
    for _ in range(100):
        store.append(items(1), ROOM)

    assert (100, 700) == tally(folder)[:2]
