"""The archive of a shard: everything that arrived, in order, whatever fails meanwhile."""

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs

from ingest.contracts.encoding.envelopes import encode
from ingest.contracts.stream import (
    ARCHIVE_GROUP,
    GROUP,
    GROUPS_KEY,
    epoch_key,
)
from tests.support.directory import a_click
from tests.support.eventually import eventually
from tests.support.servers.valkey import Valkey, running_valkey
from tests.support.workers.archives import STREAM, Yard, exhaust, payloads
from workers.archive.reader import segments
from workers.archive.stream_reader import drop_group
from workers.model.batch import TransientError
from workers.redis_io.connections import for_jobs
from workers.stream.trimmer import Trimmer


@pytest.fixture
async def yard(redis_url: str, tmp_path: Path) -> AsyncIterator[Yard]:
    async with for_jobs(redis_url) as redis:
        found = Yard(redis, tmp_path / "archive")
        await found.prepare()
        yield found
        found.close()


@pytest.fixture
def valkey() -> Iterator[Valkey]:
    with running_valkey() as server:
        yield server


def clicks(first: int, end: int) -> list[bytes]:
    return [encode(a_click(number)) for number in range(first, end)]


async def trim(redis: Redis) -> int:
    return await Trimmer(redis, [0], 0).trim()


async def test_every_entry_is_kept_in_order_and_byte_for_byte(yard: Yard) -> None:
    odd = [b"", b"no json", b'{"v":1,\n"i":2}', b"\xff\x00", b'{"a": "\xc3\xa9"}']
    sent = [*clicks(0, 2500), *odd]
    ids = await yard.add(sent)
    archiver = yard.archiver()

    await exhaust(archiver)
    await archiver.finish()

    kept = yard.kept()
    assert sent == payloads(kept)
    assert ids == [each.entry.stream_id.encode() for each in kept]
    assert {(7, 0)} == {(each.entry.epoch, each.entry.shard) for each in kept}
    assert 0 == await yard.pending()


async def test_nothing_is_acknowledged_before_it_is_on_the_disk(yard: Yard) -> None:
    await yard.add(clicks(0, 10))
    archiver = yard.archiver()

    await exhaust(archiver)
    assert 10 == await yard.pending()

    await archiver.finish()
    assert 0 == await yard.pending()


async def test_a_segment_ends_when_it_is_old(yard: Yard) -> None:
    await yard.add(clicks(0, 10))
    archiver = yard.archiver(seconds=60)
    await exhaust(archiver)

    yard.clock.now += 59
    await archiver.step()
    assert 10 == await yard.pending()

    yard.clock.now += 1
    await archiver.step()
    assert (0, 1) == (await yard.pending(), len(yard.files()))


async def test_a_segment_ends_when_it_is_large(yard: Yard) -> None:
    await yard.add(clicks(0, 3500))

    await exhaust(yard.archiver(entries=1000))
    assert 3 == len(yard.files())

    await yard.add(clicks(3500, 4500))
    await exhaust(yard.archiver(raw_bytes=1000))
    assert clicks(0, 4500) == payloads(yard.kept())


async def test_a_segment_is_of_one_day(yard: Yard) -> None:
    day = 86_400_000
    times = [1000, day - 1, day, day + 5, 2 * day, 9 * day]
    for at in times:
        await yard.redis.xadd(STREAM, {"e": b"%d" % at}, id=f"{at}-0")
    archiver = yard.archiver()
    await exhaust(archiver)
    await archiver.finish()

    found = [
        (segment.key[:10], segment.first.ms, segment.last.ms)
        for segment in segments(yard.directory)
    ]
    assert [
        ("1970-01-01", 1000, day - 1),
        ("1970-01-02", day, day + 5),
        ("1970-01-03", 2 * day, 2 * day),
        ("1970-01-10", 9 * day, 9 * day),
    ] == found
    assert [b"%d" % at for at in times] == payloads(yard.kept())
    assert 0 == await yard.pending()


async def test_what_was_there_before_the_archive_is_archived_too(yard: Yard) -> None:
    await yard.add(clicks(0, 5))
    for _ in range(2):
        await yard.redis.xreadgroup(GROUP, "one", {STREAM: ">"}, 3)
    archiver = yard.archiver()
    await exhaust(archiver)
    await archiver.finish()

    assert clicks(0, 5) == payloads(yard.kept())


async def test_a_successor_begins_with_what_was_left_pending(yard: Yard) -> None:
    await yard.add(clicks(0, 1500))
    dead = yard.archiver("one")
    await exhaust(dead)
    await yard.redis.delete("{rt:0}:archiver")
    await yard.add(clicks(1500, 1600))

    successor = yard.archiver("two")
    await exhaust(successor)
    await successor.finish()

    (segment,) = segments(yard.directory)
    assert (1600, 0) == (segment.entries, await yard.pending())
    assert clicks(0, 1600) == payloads(yard.kept())


async def test_one_archives_a_shard_and_the_others_wait(yard: Yard) -> None:
    await yard.add(clicks(0, 5))
    first, second = yard.archiver("one"), yard.archiver("two")
    await first.step()

    await exhaust(second)
    await second.finish()
    assert not yard.directory.exists() or not yard.files()

    await exhaust(first)
    await first.release()
    await yard.add(clicks(5, 6))
    await exhaust(second)
    await second.finish()
    assert clicks(0, 6) == payloads(yard.kept())


async def test_who_lost_its_shard_keeps_what_it_read(yard: Yard) -> None:
    await yard.add(clicks(0, 5))
    slow = yard.archiver("one")
    await exhaust(slow)
    await yard.redis.set("{rt:0}:archiver", "two")
    other = yard.archiver("two")
    await yard.add(clicks(5, 6))
    await exhaust(other)
    await other.finish()

    await slow.step()

    twice = clicks(0, 5) + clicks(0, 6)
    assert sorted(twice) == sorted(payloads(yard.kept()))
    assert 0 == await yard.pending()


async def test_the_trimmer_never_passes_the_archive(yard: Yard) -> None:
    await yard.add(clicks(0, 1000))
    archiver = yard.archiver()
    await exhaust(archiver)
    ids = [
        entry
        for _, page in await yard.redis.xreadgroup(GROUP, "one", {STREAM: ">"})
        for entry, _ in page
    ]
    await yard.redis.xack(STREAM, GROUP, *ids)

    assert 0 == await trim(yard.redis)

    await archiver.finish()
    assert 1000 == await trim(yard.redis)


async def test_nothing_is_trimmed_while_the_group_of_the_archive_is_missing(
    yard: Yard,
) -> None:
    await yard.add(clicks(0, 300))
    await exhaust(yard.archiver())
    await yard.redis.xgroup_destroy(STREAM, ARCHIVE_GROUP)
    for entry, _ in (await yard.redis.xreadgroup(GROUP, "one", {STREAM: ">"}))[0][1]:
        await yard.redis.xack(STREAM, GROUP, entry)

    with capture_logs() as logs:
        assert 0 == await trim(yard.redis)
    assert [["archive"]] == [line["missing"] for line in logs]

    assert 0 == await drop_group(yard.redis, [0])
    assert 300 == await trim(yard.redis)


async def test_the_group_is_made_again_from_the_beginning(yard: Yard) -> None:
    await yard.add(clicks(0, 5))
    archiver = yard.archiver()
    await exhaust(archiver)
    await yard.redis.xgroup_destroy(STREAM, ARCHIVE_GROUP)
    await yard.redis.srem(GROUPS_KEY, ARCHIVE_GROUP)

    await yard.add(clicks(5, 6))
    await exhaust(archiver)
    await exhaust(archiver)
    await archiver.finish()

    twice = clicks(0, 5) + clicks(0, 6)
    assert sorted(twice) == sorted(payloads(yard.kept()))
    assert await yard.redis.sismember(GROUPS_KEY, ARCHIVE_GROUP)


async def test_another_life_of_the_stream_has_segments_of_its_own(yard: Yard) -> None:
    await yard.redis.xadd(STREAM, {"e": b"1"}, id="5-0")
    archiver = yard.archiver()
    await exhaust(archiver)
    await yard.redis.flushdb()
    await yard.prepare(epoch=8)
    await yard.redis.xadd(STREAM, {"e": b"2"}, id="5-0")

    for _ in range(3):
        await exhaust(archiver)
    # What is owed of the former life acknowledges nothing of this one.
    assert 1 == await yard.pending()
    await archiver.finish()

    found = {(each.entry.epoch, each.payload) for each in yard.kept()}
    assert {(7, b"1"), (8, b"2")} == found


async def test_without_a_worker_there_is_nothing_to_join(yard: Yard) -> None:
    await yard.redis.flushdb()
    archiver = yard.archiver()

    assert not await archiver.step()
    assert not await yard.redis.exists(STREAM)
    assert not await yard.redis.exists(epoch_key(0))


async def test_entries_that_vanished_are_told_of_and_let_go(yard: Yard) -> None:
    ids = await yard.add(clicks(0, 3))
    await exhaust(yard.archiver())
    await yard.redis.xdel(STREAM, ids[1])

    successor = yard.archiver()
    with capture_logs() as logs:
        await exhaust(successor)
    await successor.finish()

    assert [("archive.missed", 1)] == [
        (line["event"], line["count"]) for line in logs if "count" in line
    ]
    assert [clicks(0, 3)[0], clicks(0, 3)[2]] == payloads(yard.kept())
    assert 0 == await yard.pending()


async def test_a_disk_that_fails_leaves_everything_pending(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_: int) -> None:
        raise OSError(28, "No space left on device")

    await yard.add(clicks(0, 5))
    archiver = yard.archiver()
    await exhaust(archiver)
    with monkeypatch.context() as broken:
        broken.setattr(os, "fsync", fails)
        with pytest.raises(TransientError, match="No space left"):
            await archiver.finish()
    assert (5, []) == (await yard.pending(), yard.files())
    assert [] == list((yard.directory / "open").iterdir())

    await exhaust(archiver)
    await archiver.finish()
    assert (0, clicks(0, 5)) == (await yard.pending(), payloads(yard.kept()))


async def test_what_was_read_is_kept_although_the_server_is_gone(
    valkey: Valkey, tmp_path: Path
) -> None:
    async with for_jobs(valkey.url) as redis:
        yard = Yard(redis, tmp_path / "archive")
        await yard.prepare()
        await yard.add(clicks(0, 5))
        archiver = yard.archiver()
        await exhaust(archiver)
        valkey.kill()

        with pytest.raises(TransientError):
            await archiver.step()
        await archiver.flush()
        assert clicks(0, 5) == payloads(yard.kept())

        valkey.start()

        async def is_back() -> bool:
            with suppress(TransientError):
                await exhaust(archiver)
                return True
            return False

        await eventually(is_back)
        assert 0 == await yard.pending()
        assert 1 == len(yard.files())
