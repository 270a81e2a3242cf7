"""`reftide replay`, `reftide replays` and `reftide rewind`, with workers at work."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Any
from uuid import UUID

import orjson
import pytest

from ingest.contracts.stream import FIELD, EntryId, epoch_key
from scripts.services.recover.replays import seconds_left
from tests.support.directory import NOON_MS, a_click, an_id, furnish
from tests.support.servers.cli import Cli, servers_of
from tests.support.workers.replaying import Site
from tests.support.workers.scene import beat
from tests.support.workers.working import STREAM
from workers.archive.writer import SegmentWriter
from workers.model.batch import Delivery, Entry
from workers.postgres.database import open_pool
from workers.redis_io.connections import for_jobs

HOURS = ("--from", "2025-03-10T11:00", "--to", "2025-03-10T13:00")


@pytest.fixture
def cli(redis_url: str, database_url: str) -> Cli:
    made = servers_of(redis_url, database_url)
    variables = {**made.variables, "REFTIDE_SHARDS": "1"}

    async def happen() -> None:
        async with _site(redis_url, database_url) as site:
            async with site.pool.acquire() as connection:
                await furnish(connection)
            await site.add(a_click(1), a_click(2), a_click(3, at=NOON_MS + 9_000_000))
            await site.record()

    asyncio.run(happen())
    return Cli(variables)


class _site:  # noqa: N801 -- a context manager
    def __init__(
        self, redis_url: str, database_url: str, archive: Path | None = None
    ) -> None:
        self._urls = redis_url, database_url
        self._archive = archive

    async def __aenter__(self) -> Site:
        self._redis = for_jobs(self._urls[0])
        self._pool = open_pool(self._urls[1], size=3)
        pool = await self._pool.__aenter__()
        return Site(self._redis, pool, *self._urls, self._archive)

    async def __aexit__(self, *error: object) -> None:
        await self._pool.__aexit__(*error)
        await self._redis.aclose()


@contextmanager
def _at_work(cli: Cli, archive: Path | None = None) -> Iterator[None]:
    """Somebody who takes up replays, in a thread of its own."""
    stop = Event()

    async def work() -> None:
        urls = (cli.variables["REDIS_URL"], cli.variables["DATABASE_URL"])
        async with _site(*urls, archive) as site:
            await beat(site)
            while not stop.is_set():
                await site.replays().work()
                await asyncio.sleep(0.02)

    thread = Thread(target=lambda: asyncio.run(work()))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _counts(document: Any) -> tuple[int, ...]:
    names = ("scanned", "inserted", "changed", "unchanged")
    return tuple(document[name] for name in names)


def test_a_replay_says_what_it_came_to(cli: Cli) -> None:
    with _at_work(cli):
        dry = cli.document("replay", *HOURS, "--dry-run")
        done = cli.document("replay", *HOURS)
        shown = cli.run("replay", *HOURS, "--mode", "reprocess")

    assert (2, 0, 0, 2) == _counts(dry) == _counts(done)
    assert (True, False) == (dry["dry_run"], done["dry_run"])
    assert {"id", "seconds"} <= done.keys()
    assert (0, True) == (shown.code, "3 entries read" in shown.out)
    listed = cli.document("replays", "list")["replays"]
    assert ["reprocess", "missing", "missing"] == [one["mode"] for one in listed]
    one = cli.document("replays", "show", done["id"])
    assert ("done", 2, 1) == (one["status"], one["scanned"], one["parts_done"])


def test_a_replay_is_confined_to_a_partner(cli: Cli) -> None:
    with _at_work(cli):
        theirs = cli.document("replay", *HOURS, "--partner", "prt33")
        others = cli.document("replay", *HOURS, "--partner", "prt34")
    unknown = cli.run("replay", *HOURS, "--partner", "nobody")

    assert ((2, 0, 0, 2), (0, 0, 0, 0)) == (_counts(theirs), _counts(others))
    assert (2, True) == (unknown.code, "There is no partner 'nobody'" in unknown.err)


@pytest.mark.parametrize(
    ("status", "read", "expected", "left"),
    [
        ("running", 100, 400, 30.0),
        ("running", 400, 400, 0.0),
        ("running", 0, 400, None),
        ("running", 100, 0, None),
        ("done", 400, 400, None),
    ],
)
def test_a_replay_says_when_it_will_be_done(
    status: str, read: int, expected: int, left: float | None
) -> None:
    replay = {"status": status, "read": read, "expected": expected, "seconds": 10.0}

    assert left == seconds_left(replay)


def test_a_replay_says_which_segments_it_could_not_read(
    cli: Cli, tmp_path: Path
) -> None:
    torn, unlisted = asyncio.run(_damage(cli, tmp_path))

    with _at_work(cli, tmp_path):
        done = cli.run("replay", *HOURS, "--json")
        shown = cli.run("replay", *HOURS)

    found = orjson.loads(done.out)
    assert (1, 1) == (done.code, shown.code)
    # How many entries the segment has whose index is damaged, nothing tells.
    assert (2, sorted((torn, unlisted))) == (
        found["damaged"],
        found["damaged_segments"],
    )
    assert (2, 5) == (found["scanned"], found["read"])
    assert "2 segments of the archive cannot be read" in shown.out
    assert torn in shown.out


async def _damage(cli: Cli, archive: Path) -> tuple[str, str]:
    """Archive what was recorded, empty the stream, and damage a segment and an index.

    A third segment, of what was accepted at other times, is whole.
    """
    urls = (cli.variables["REDIS_URL"], cli.variables["DATABASE_URL"])
    async with _site(*urls) as site:
        epoch = int(await site.redis.get(epoch_key(0)))
        entries = await site.redis.xrange(STREAM)
        await site.redis.xtrim(STREAM, maxlen=0, approximate=False)
    page = [
        Delivery(Entry.of(epoch, 0, *EntryId.of(raw)), fields[FIELD])
        for raw, fields in entries
    ]
    written = []
    for part in (page[:2], page[1:2], page):
        writer = SegmentWriter(archive, "w1", 0, epoch)
        writer.add(part)
        written.append(writer.finish())
    torn, unlisted, _ = written
    torn.data(archive).write_bytes(b"damaged")
    unlisted.index(archive).write_bytes(b"damaged")
    return torn.key, unlisted.key


@pytest.mark.parametrize(
    ("filters", "scanned"),
    [
        (("--kind", "lead"), 0),
        (("--dialect", "affitor"), 2),
        (("--dialect", "dub"), 0),
        (("--workspace", "here"), 2),
        (("--workspace", "elsewhere"), 0),
        (("--link", "L0"), 2),
        (("--link", "L1"), 0),
        (("--event", str(an_id(2))), 1),
    ],
    ids=lambda value: value[1] if isinstance(value, tuple) else "",
)
def test_only_what_is_asked_for_is_replayed(
    cli: Cli, filters: tuple[str, ...], scanned: int
) -> None:
    with _at_work(cli):
        done = cli.document("replay", *HOURS, *filters)

    assert scanned == done["scanned"]


def test_a_replay_can_be_paused_resumed_and_cancelled(cli: Cli) -> None:
    replay_id = asyncio.run(_order(cli))

    [open_] = cli.status()["replays"]
    states = [
        cli.document("replays", what, str(replay_id))["status"]
        for what in ("pause", "resume", "pause", "cancel")
    ]

    assert (str(replay_id), "running") == (open_["id"], open_["status"])
    assert ["paused", "running", "paused", "cancelled"] == states
    assert [] == cli.status()["replays"]
    refused = cli.run("replays", "resume", str(replay_id))
    assert (2, True) == (refused.code, "is cancelled" in refused.err)
    unknown = cli.run("replays", "show", str(UUID(int=1)))
    assert (2, True) == (unknown.code, "no replay" in unknown.err)


def test_a_command_that_is_stopped_leaves_its_replay_running(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def interrupted(*_: object) -> float:
        raise KeyboardInterrupt

    monkeypatch.setattr("scripts.services.recover.replays.live_lag", interrupted)

    result = cli.run("replay", *HOURS)

    [replay] = cli.document("replays", "list")["replays"]
    assert (0, "running") == (result.code, replay["status"])
    assert (
        f"The replay goes on: see `reftide replays show {replay['id']}`" in result.err
    )


def test_what_is_of_a_detached_partition_is_refused(cli: Cli) -> None:
    partition = "events_202503"
    cli.fetch(f"alter table events detach partition {partition}")

    refused = cli.run("replay", *HOURS)
    with _at_work(cli):
        partly = cli.run("replay", "--from", "2025-03-10", "--json")

    assert (2, True) == (refused.code, "detached" in refused.err)
    assert (3, 3) == (partly.document["scanned"], partly.document["refused"])
    assert "will be refused" in partly.err


def test_a_replay_without_a_beginning_is_asked_for_one(cli: Cli) -> None:
    result = cli.run("replay")

    assert (2, True) == (result.code, "--from" in result.err)


def test_a_rewound_group_is_given_its_entries_again_and_nothing_doubles(
    cli: Cli,
) -> None:
    before = cli.document("verify")

    moved = cli.document("rewind", "--to", "1d")
    again = cli.status()
    asyncio.run(_record(cli))

    assert [0] == [one["shard"] for one in moved["shards"]]
    assert (3, -3) == (again["in_flight"], again["balance"])
    after = cli.document("verify")
    assert (True, True) == (before["ok"], after["ok"])
    status = cli.status()
    # One of the three cannot be placed, and is in quarantine.
    books = ("accepted", "recorded", "quarantined", "balance")
    assert (3, 2, 1, 0) == tuple(status[name] for name in books)


def test_a_group_is_not_moved_forward(cli: Cli) -> None:
    moved = cli.document("rewind", "--to", "9999999999999-0")

    assert all(one["was"] == one["is"] for one in moved["shards"])


def test_a_new_group_joins_where_it_is_told_to(cli: Cli) -> None:
    refused = cli.run("rewind", "--group", "warehouse", "--to", "1d")
    cli.document("rewind", "--group", "warehouse", "--create", "--to", "0-1")

    assert 2 == refused.code
    assert 3 == asyncio.run(_read_by(cli, "warehouse"))


def test_who_rewinds_behind_what_was_trimmed_is_told(cli: Cli) -> None:
    async def trim() -> bytes:
        async with for_jobs(cli.variables["REDIS_URL"]) as redis:
            await redis.xtrim(STREAM, maxlen=2, approximate=False)
            return bytes((await redis.xrange(STREAM, count=1))[0][0])

    whole = cli.document("rewind", "--group", "early", "--create", "--to", "1970-01-02")
    first = asyncio.run(trim()).decode()
    trimmed = cli.document(
        "rewind", "--group", "late", "--create", "--to", "1970-01-02"
    )
    shown = cli.run("rewind", "--group", "late", "--to", "1970-01-02")
    later = cli.document("rewind", "--group", "late", "--to", first)

    begins = [done["shards"][0]["begins"] for done in (whole, trimmed, later)]
    assert [None, first, None] == begins
    assert "These streams begin later" in shown.out


async def _order(cli: Cli) -> UUID:
    urls = (cli.variables["REDIS_URL"], cli.variables["DATABASE_URL"])
    async with _site(*urls) as site:
        return await site.order()


async def _record(cli: Cli) -> None:
    urls = (cli.variables["REDIS_URL"], cli.variables["DATABASE_URL"])
    async with _site(*urls) as site:
        await site.record()


async def _read_by(cli: Cli, group: str) -> int:
    async with for_jobs(cli.variables["REDIS_URL"]) as redis:
        found = await redis.xreadgroup(group, "one", {STREAM: ">"}, 10)
        return len(found[0][1])
