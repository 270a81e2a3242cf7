"""`reftide archive`: what there is, whether it is whole, and doing without it."""

from pathlib import Path

import pytest
from redis import Redis

from ingest.contracts.envelope import encode
from ingest.contracts.stream import (
    ARCHIVE_GROUP,
    GROUP,
    GROUPS_KEY,
    SHARDS_KEY,
    archiver_key,
    events_key,
)
from tests.reftide import Cli, servers_of
from tests.world import NOON_MS, a_click
from workers.archive.segment import Segment
from workers.archive.writing import Writer
from workers.batch import Delivery, Entry

DAY = 86_400_000


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "archive"


@pytest.fixture
def cli(redis_url: str, database_url: str, directory: Path) -> Cli:
    servers = servers_of(redis_url, database_url)
    return Cli({**servers.variables, "REFTIDE_ARCHIVE": str(directory)})


def write(directory: Path, first: int, count: int) -> Segment:
    writer = Writer(directory, "w", 0, 7)
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
        "problems": [],
        "unfinished": [],
    } == cli.document("archive", "verify")
    assert "1 segment with 3 entries: all as" in cli.run("archive", "verify").out


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
        assert (2, True) == (refused.code, "w1 archives" in refused.err)

        redis.delete(archiver_key(1))
        assert 0 == cli.run("archive", "leave").code
        names = [group["name"] for group in redis.xinfo_groups(events_key(1))]
        assert ([GROUP.encode()], set()) == (names, redis.smembers(GROUPS_KEY))
