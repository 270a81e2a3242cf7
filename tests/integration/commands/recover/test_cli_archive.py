"""`reftide archive`: what there is, whether it is whole, and doing without it."""

import asyncio
import shutil
from pathlib import Path

import pytest
from redis import Redis

from ingest.contracts.encoding.envelopes import encode
from ingest.contracts.stream import (
    ARCHIVE_GROUP,
    GROUP,
    GROUPS_KEY,
    SHARDS_KEY,
    WORKERS_KEY,
    archiver_key,
    events_key,
    heartbeat_key,
)
from tests.support.directory import NOON_MS, a_click
from tests.support.servers.cli import Cli, servers_of
from tests.support.servers.stores import StoredArchive
from workers.archive.contents import contents_path, load_contents
from workers.archive.object_store.upload import UploadReporter
from workers.archive.segment import Segment
from workers.archive.writer import SegmentWriter
from workers.model.batch import Delivery, Entry
from workers.redis_io.connections import for_jobs

DAY = 86_400_000


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "archive"


@pytest.fixture
def cli(redis_url: str, database_url: str, directory: Path) -> Cli:
    servers = servers_of(redis_url, database_url)
    return Cli({**servers.variables, "REFTIDE_ARCHIVE": str(directory)})


def write(directory: Path, first: int, count: int) -> Segment:
    writer = SegmentWriter(directory, "w", 0, 7)
    writer.add(
        [
            Delivery(Entry.of(7, 0, NOON_MS + first, n), encode(a_click(n)))
            for n in range(count)
        ]
    )
    return writer.finish()


def test_the_archive_is_listed_by_day_and_by_segment(cli: Cli, directory: Path) -> None:
    write(directory, 0, 3)
    write(directory, 1, 4)
    last = write(directory, DAY, 5)

    days = cli.document("archive", "list")["days"]
    shown = cli.document("archive", "list", "--day", "2025-03-11")["segments"]

    assert [("2025-03-10", 2, 7), ("2025-03-11", 1, 5)] == [
        (day["day"], day["segments"], day["entries"]) for day in days
    ]
    assert [(last.key, {"click": 5}, last.sha256)] == [
        (one["segment"], one["kinds"], one["sha256"]) for one in shown
    ]
    told = cli.run("archive", "list").out
    assert "2025-03-11" in told
    assert "12 entries in" in told


def test_a_whole_archive_is_verified(cli: Cli, directory: Path) -> None:
    write(directory, 0, 3)

    assert {
        "ok": True,
        "segments": 1,
        "entries": 3,
        "only_asked": 0,
        "problems": [],
        "unfinished": [],
    } == cli.document("archive", "verify")
    assert "1 segment with 3 entries: all intact" in cli.run("archive", "verify").out


@pytest.mark.parametrize("suffix", [".ndjson.zst", ".json"])
def test_a_changed_byte_is_a_problem(cli: Cli, directory: Path, suffix: str) -> None:
    segment = write(directory, 0, 3)
    whole = write(directory, 1, 3)
    path = directory / f"{segment.key}{suffix}"
    raw = bytearray(path.read_bytes())
    raw[30] ^= 1
    path.write_bytes(raw)

    result = cli.run("archive", "verify", "--json")

    assert 1 == result.code
    assert [segment.key] == [one["segment"] for one in result.document["problems"]]
    assert whole.key not in cli.run("archive", "verify").out


def test_a_segment_without_its_index_is_told_of(cli: Cli, directory: Path) -> None:
    segment = write(directory, 0, 3)
    segment.index(directory).unlink()

    assert [f"{segment.key}.ndjson.zst"] == cli.document("archive", "verify")[
        "unfinished"
    ]


def test_where_there_is_no_archive_it_says_so(
    cli: Cli, redis_url: str, database_url: str
) -> None:
    missing = cli.run("archive", "list")
    off = Cli(servers_of(redis_url, database_url).variables).run("archive", "verify")

    assert (2, 2) == (missing.code, off.code)
    assert "There is nothing in" in missing.err
    assert "set REFTIDE_ARCHIVE" in off.err


def test_streams_need_not_be_kept_for_it_any_longer(cli: Cli, redis_url: str) -> None:
    with Redis.from_url(redis_url) as redis:
        redis.set(SHARDS_KEY, 2)
        for shard in range(2):
            for group in (GROUP, ARCHIVE_GROUP):
                redis.xgroup_create(events_key(shard), group, "0", mkstream=True)
        redis.sadd(GROUPS_KEY, ARCHIVE_GROUP)
        redis.set(archiver_key(1), "w1")

        refused = cli.run("archive", "leave")
        assert (2, True) == (refused.code, "w1 still archives" in refused.err)

        redis.delete(archiver_key(1))
        assert 0 == cli.run("archive", "leave").code
        names = [group["name"] for group in redis.xinfo_groups(events_key(1))]
        assert ([GROUP.encode()], set()) == (names, redis.smembers(GROUPS_KEY))


async def test_what_is_in_the_store_is_told_of(cli: Cli, tmp_path: Path) -> None:
    archive = StoredArchive(tmp_path)
    gone, here = archive.write(0), archive.write(1)
    await archive.uploader().step()
    waiting = archive.write(2)
    gone.data(archive.directory).unlink()

    told = cli.document("archive", "status")
    (day,) = cli.document("archive", "list")["days"]
    shown = cli.document("archive", "list", "--day", "2025-03-10")["segments"]

    assert (3, 2, 2, 1, 0) == tuple(
        told[name] for name in ("segments", "here", "stored", "waiting", "nowhere")
    )
    assert told["waiting_since"].startswith("2025-03-10T12:00")
    assert (2, 2) == (day["here"], day["stored"])
    assert [
        (gone.key, False, True),
        (here.key, True, True),
        (waiting.key, True, False),
    ] == [(one["segment"], one["here"], one["stored"]) for one in shown]
    assert "waiting" in cli.run("archive", "status").out


async def tell(
    redis_url: str, archive: StoredArchive, name: str, now_ms: int, why: str
) -> None:
    """A worker says how its uploads stand."""
    async with for_jobs(redis_url) as redis:
        await redis.sadd(WORKERS_KEY, name)
        await redis.set(heartbeat_key(name), b"", ex=60)
        told = UploadReporter(redis, name, archive.directory, archive.store().name)
        if why:
            told.failed(now_ms - 5000, why)
        await told.publish(now_ms)


def test_status_says_how_uploads_stand(
    cli: Cli, redis_url: str, tmp_path: Path
) -> None:
    with Redis.from_url(redis_url) as redis:
        redis.set(SHARDS_KEY, 1)
    assert [] == cli.status()["uploads"]
    archive = StoredArchive(tmp_path)
    archive.write(0)
    asyncio.run(tell(redis_url, archive, "w1", NOON_MS + 90_000, "no route"))

    (shown,) = cli.status()["uploads"]
    told = " ".join(cli.run("status", "--window", "0").out.split())

    assert shown.pop("archive").endswith(f":{archive.directory}")
    assert {
        "store": f"file://{archive.bucket}",
        "waiting": 1,
        "oldest_seconds": 90,
        "failing_seconds": 5,
        "why": "no route",
    } == shown
    assert "Uploads" in told
    assert "are not uploaded: no route" in told

    # Another worker with the same directory, later.
    asyncio.run(archive.uploader().step())
    asyncio.run(tell(redis_url, archive, "w2", NOON_MS + 95_000, ""))
    (shown,) = cli.status()["uploads"]
    assert (0, None, None) == (
        shown["waiting"],
        shown["oldest_seconds"],
        shown["why"],
    )


def with_store(cli: Cli, archive: StoredArchive) -> Cli:
    url = f"file://{archive.bucket}"
    return Cli({**cli.variables, "REFTIDE_ARCHIVE_STORE": url})


async def prepared(tmp_path: Path) -> tuple[StoredArchive, Segment]:
    """One segment that only the store has, and one that both have."""
    archive = StoredArchive(tmp_path)
    gone, _ = archive.write(0), archive.write(1)
    await archive.uploader().step()
    gone.data(archive.directory).unlink()
    return archive, gone


def test_verify_asks_the_store(cli: Cli, tmp_path: Path) -> None:
    archive, gone = asyncio.run(prepared(tmp_path))
    stored = with_store(cli, archive)

    assert stored.document("archive", "verify")["ok"]
    assert (
        "Of 1 segment only size and index were checked"
        in stored.run("archive", "verify").out
    )
    alone = cli.run("archive", "verify", "--json")
    assert (1, [gone.key]) == (
        alone.code,
        [one["segment"] for one in alone.document["problems"]],
    )

    gone.data(archive.bucket).unlink()
    lacking = stored.run("archive", "verify", "--json")
    assert (1, [gone.key]) == (
        lacking.code,
        [one["segment"] for one in lacking.document["problems"]],
    )


def test_segments_are_fetched_by_time(cli: Cli, tmp_path: Path) -> None:
    archive, gone = asyncio.run(prepared(tmp_path))
    stored = with_store(cli, archive)
    span = ("--from", "2025-03-10", "--to", "2025-03-11")

    assert (
        0
        == stored.document("archive", "fetch", *span[2:], "--from", "2025-03-10T23:00")[
            "segments"
        ]
    )
    fetched = stored.document("archive", "fetch", *span)

    assert (1, gone.size) == (fetched["segments"], fetched["bytes"])
    assert gone.data(archive.directory).exists()
    assert "0 segments" in stored.run("archive", "fetch", *span).out


def test_a_lost_directory_is_fetched_whole(cli: Cli, tmp_path: Path) -> None:
    archive, _ = asyncio.run(prepared(tmp_path))
    shutil.rmtree(archive.directory)

    fetched = with_store(cli, archive).document(
        "archive", "fetch", "--from", "2025-03-10"
    )

    assert (2, 2) == (fetched["indexes"], fetched["segments"])
    assert cli.document("archive", "verify")["ok"]


def test_fetch_says_what_is_missing(cli: Cli, tmp_path: Path) -> None:
    archive, gone = asyncio.run(prepared(tmp_path))
    gone.data(archive.bucket).unlink()
    wrong = {**cli.variables, "REFTIDE_ARCHIVE_STORE": "http://bucket"}
    span = ("--from", "2025-03-10")

    lacking = with_store(cli, archive).run("archive", "fetch", *span)
    shutil.rmtree(archive.bucket)
    dead = with_store(cli, archive).run("archive", "fetch", *span)
    unset = cli.run("archive", "fetch", *span)
    mistaken = Cli(wrong).run("archive", "fetch", *span)

    assert [1, 3, 2, 2] == [each.code for each in (lacking, dead, unset, mistaken)]
    assert gone.key[:20] in lacking.out
    assert "does not exist" in dead.err
    assert "set REFTIDE_ARCHIVE_STORE" in unset.err
    assert "s3://bucket/prefix" in mistaken.err


def test_segments_of_a_former_release_get_contents(cli: Cli, directory: Path) -> None:
    former = [write(directory, number, 3 + number) for number in range(3)]
    contents = [contents_path(directory, each.key) for each in former]
    written = [path.read_bytes() for path in contents]
    contents[0].unlink()
    contents[1].write_bytes(written[1][:-1])

    dry = cli.document("archive", "reindex", "--dry-run")
    lacking = cli.document("archive", "status")["indexed"]
    done = cli.document("archive", "reindex")
    again = cli.document("archive", "reindex")

    assert {
        "ok": True,
        "dry_run": True,
        "segments": 3,
        "indexed": 1,
        "left": 2,
        "left_entries": 7,
        "absent": 0,
        "problems": [],
    } == dry
    # The damaged one is there.
    assert 2 == lacking
    assert (2, False) == (done["left"], done["dry_run"])
    assert (3, 0) == (again["indexed"], again["left"])
    assert written == [path.read_bytes() for path in contents]
    assert 3 == cli.document("archive", "reindex", "--all")["left"]
    assert "0 segments read, with 0 entries." in cli.run("archive", "reindex").out


def test_a_frame_that_cannot_be_read_may_have_anything(
    cli: Cli, directory: Path
) -> None:
    segment = write(directory, 0, 3)
    contents_path(directory, segment.key).unlink()
    data = segment.data(directory)
    raw = bytearray(data.read_bytes())
    raw[len(raw) // 2] ^= 1
    data.write_bytes(raw)

    result = cli.run("archive", "reindex", "--json")

    assert 1 == result.code
    assert [
        {"segment": segment.key, "problem": "3 entries cannot be read"}
    ] == result.document["problems"]
    (frame,) = load_contents(directory, segment) or ()
    assert (3, True) == (frame.entries, frame.is_opaque)


async def test_segments_that_only_a_store_has_are_left_out(
    cli: Cli, tmp_path: Path
) -> None:
    archive = StoredArchive(tmp_path)
    gone = archive.write(0)
    await archive.uploader().step()
    gone.data(archive.directory).unlink()
    contents_path(archive.directory, gone.key).unlink()

    told = cli.document("archive", "reindex")

    assert (0, 1) == (told["left"], told["absent"])
    assert "see `reftide archive fetch`" in cli.run("archive", "reindex").out
