"""Segments of the archive on the disk: written, read by time, damaged, deleted."""

import os
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as some
from structlog.testing import capture_logs
from zstandard import ZstdDecompressor

from ingest.contracts.encoding.envelopes import encode
from ingest.contracts.metrics.worker import REGISTRY
from tests.support.directory import NOON_MS, a_click
from tests.support.metrics import shown
from tests.support.workers.archives import everything, payloads
from workers.archive import writer
from workers.archive.reader import problem, read, segments, unfinished
from workers.archive.retention import delete_abandoned, delete_old
from workers.archive.segment import (
    Segment,
    SegmentDamaged,
    delivery_of,
    kind_of,
    line_of,
)
from workers.archive.writer import SegmentWriter
from workers.model.batch import Delivery, Entry

HOUR: Final = 3_600_000
DAY: Final = 24 * HOUR


def delivery(number: int, *, at: int = NOON_MS, arrived: int | None = None) -> Delivery:
    """The click of a number, that was accepted, and arrived, at some time."""
    entry = Entry.of(7, 0, at if arrived is None else arrived, number)
    return Delivery(entry, encode(a_click(number, at=at)))


def write(directory: Path, *deliveries: Delivery, shard: int = 0) -> Segment:
    writer = SegmentWriter(directory, "w", shard, 7)
    writer.add(deliveries)
    return writer.finish()


@pytest.fixture
def small_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten clicks in a frame, or so."""
    monkeypatch.setattr(writer, "FRAME_BYTES", 2000)


@given(payload=some.binary(), ms=some.integers(0, 2**64 - 1))
def test_any_payload_comes_back_from_its_line(payload: bytes, ms: int) -> None:
    kept = Delivery(Entry.of(3, 5, ms, 9), payload)

    line = line_of(kept, is_json=kind_of(payload) is not None)

    assert 1 == line.count(b"\n")
    assert kept == delivery_of(line[:-1])


def test_an_index_comes_back_and_a_changed_one_does_not(tmp_path: Path) -> None:
    segment = write(tmp_path, delivery(1), delivery(2))
    raw = segment.encode()

    assert segment == Segment.decode(segment.key, raw)
    for at in range(len(raw) - 1):
        with pytest.raises(SegmentDamaged):
            Segment.decode(segment.key, raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :])


def test_an_index_tells_what_is_inside(tmp_path: Path) -> None:
    noise = Delivery(Entry.of(7, 0, NOON_MS + 9, 9), b"noise")
    segment = write(tmp_path, delivery(1), delivery(2, at=NOON_MS + 5), noise)

    assert ("2025-03-10", 3) == (segment.key.partition("/")[0], segment.entries)
    assert {"click": 2, "?": 1} == segment.kinds
    assert (f"{NOON_MS}-1", f"{NOON_MS + 9}-9") == (
        str(segment.first),
        str(segment.last),
    )
    assert (NOON_MS, NOON_MS + 9) == segment.accepted
    assert segment.size == segment.data(tmp_path).stat().st_size


def test_the_frames_of_a_segment_are_one_text(
    tmp_path: Path, small_frames: None
) -> None:
    segment = write(tmp_path, *(delivery(number) for number in range(100)))

    # As `zstdcat` does, which knows nothing of our index.
    with segment.data(tmp_path).open("rb") as file:
        text = ZstdDecompressor().stream_reader(file, read_across_frames=True).read()

    assert 5 < len(segment.frames)
    assert segment.raw_size == len(text)
    assert 100 == text.count(b'"event":{"v":2,')


def test_a_range_is_of_when_events_were_accepted(
    tmp_path: Path, small_frames: None
) -> None:
    write(tmp_path, *(delivery(n, at=NOON_MS + n) for n in range(100)))
    late = delivery(500, at=NOON_MS + 50, arrived=NOON_MS + 3 * DAY)
    write(tmp_path, late)

    found = everything(tmp_path, NOON_MS + 40, NOON_MS + 60)

    assert [*range(40, 60), 500] == [each.entry.seq for each in found]
    assert [] == everything(tmp_path, NOON_MS + 100, NOON_MS + DAY)


def test_a_reader_goes_on_where_it_was(tmp_path: Path, small_frames: None) -> None:
    write(tmp_path, *(delivery(number) for number in range(100)))
    found: list[Delivery] = []
    page = read(tmp_path, 0, 2 * NOON_MS)
    pages = 1
    while page.next is not None:
        assert len(page.deliveries) < 20
        found += page.deliveries
        page = read(tmp_path, 0, 2 * NOON_MS, cursor=page.next)
        pages += 1
        # What comes and goes meanwhile does not disturb it.
        write(tmp_path, delivery(1000 + pages, arrived=NOON_MS - pages))

    assert pages > 5
    assert list(range(100)) == [each.entry.seq for each in found]
    with pytest.raises(ValueError, match="not an archive cursor"):
        read(tmp_path, 0, 1, cursor="nonsense")


def test_a_reader_may_ask_for_one_shard(tmp_path: Path) -> None:
    write(tmp_path, delivery(1))
    other = Delivery(Entry.of(7, 3, NOON_MS, 2), b"{}")
    write(tmp_path, other, shard=3)

    assert [other] == everything(tmp_path, shard=3)
    assert 2 == len(everything(tmp_path))


def test_a_changed_byte_is_found_wherever_it_is(tmp_path: Path) -> None:
    segment = write(tmp_path, delivery(1), delivery(2))
    path = segment.data(tmp_path)
    whole = path.read_bytes()
    before = shown(REGISTRY, "reftide_worker_archive_damaged_total")
    for at in range(len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x10]) + whole[at + 1 :])
        with capture_logs() as logs:
            page = read(tmp_path, 0, 2 * NOON_MS)
        assert ([], 2) == (page.deliveries, page.damaged)
        assert ["archive.damaged"] == [line["event"] for line in logs]
        assert problem(tmp_path, segment) is not None
    counted = shown(REGISTRY, "reftide_worker_archive_damaged_total") - before
    assert len(whole) == counted
    path.write_bytes(whole)
    assert problem(tmp_path, segment) is None


def test_a_damaged_frame_does_not_take_the_others_along(
    tmp_path: Path, small_frames: None
) -> None:
    segment = write(tmp_path, *(delivery(number) for number in range(100)))
    second = segment.frames[1]
    path = segment.data(tmp_path)
    raw = bytearray(path.read_bytes())
    raw[second.offset + 20] ^= 1
    path.write_bytes(raw)

    with capture_logs():
        found = everything(tmp_path)

    assert 100 - second.entries == len(found)


@pytest.mark.parametrize("length", [0, 1, 100])
def test_a_segment_that_was_cut_is_found(tmp_path: Path, length: int) -> None:
    segment = write(tmp_path, delivery(1))
    os.truncate(segment.data(tmp_path), length)

    with capture_logs():
        assert 1 == read(tmp_path, 0, 2 * NOON_MS).damaged
    assert problem(tmp_path, segment) is not None


def test_what_was_not_finished_is_not_read(tmp_path: Path) -> None:
    segment = write(tmp_path, delivery(1))
    segment.index(tmp_path).unlink()
    left = SegmentWriter(tmp_path, "w", 0, 7)
    left.add([delivery(2)])

    assert [] == everything(tmp_path)
    assert [segment.data(tmp_path)] == list(unfinished(tmp_path))
    left.discard()


def test_an_index_that_cannot_be_read_is_told_of(tmp_path: Path) -> None:
    segment = write(tmp_path, delivery(1))
    write(tmp_path, delivery(2))
    segment.index(tmp_path).write_bytes(b"{}")

    with capture_logs() as logs:
        found = everything(tmp_path)

    assert payloads([delivery(2)]) == payloads(found)
    assert {segment.key} == {line["segment"] for line in logs}


def test_old_segments_are_deleted_with_their_days(tmp_path: Path) -> None:
    for day in range(4):
        write(tmp_path, delivery(day, arrived=NOON_MS + day * DAY))

    assert 2 == delete_old(tmp_path, 1, NOON_MS + 2 * DAY + HOUR)

    kept = [segment.key.partition("/")[0] for segment in segments(tmp_path)]
    assert ["2025-03-12", "2025-03-13"] == kept
    assert {"open", *kept} == {path.name for path in tmp_path.iterdir()}


def test_what_the_dead_left_goes_after_some_days(tmp_path: Path) -> None:
    for name in ("old.s0.part", "new.s0.part"):
        SegmentWriter(tmp_path, name.partition(".")[0], 0, 7)._file.close()
    old = tmp_path / "open" / "old.s0.part"
    os.utime(old, (NOON_MS / 1000 - 3 * 86_400, NOON_MS / 1000 - 3 * 86_400))
    new = tmp_path / "open" / "new.s0.part"
    os.utime(new, (NOON_MS / 1000, NOON_MS / 1000))

    assert 1 == delete_abandoned(tmp_path, NOON_MS)
    assert [new] == list((tmp_path / "open").iterdir())
