"""Erasure beside archiving: what is being written, what is being read, who dies meanwhile."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from uuid_utils.compat import uuid7

from ingest.contracts.envelope import encode
from tests.support.directory import NOON_MS, WORKSPACE, a_click, furnish
from tests.support.eventually import eventually
from tests.support.grepping import files, traces
from tests.support.servers.stores import StoredArchive
from tests.support.servers.valkey import running_valkey
from tests.support.workers.archives import Yard, everything, exhaust
from tests.support.workers.erasures import HISTORY, JANE, TRACES, is_swept, janes_lead
from workers.archive import rewrite
from workers.archive.archiver import Archiver, ArchiverConfig
from workers.archive.object_store.fetch import SegmentFetcher
from workers.archive.reader import (
    SegmentPage,
    load_segment,
    problem,
    read,
    segments,
    unfinished,
)
from workers.archive.rewrite import mark, marked
from workers.archive.segment import Segment
from workers.archive.writer import SegmentWriter
from workers.erasure.archives import (
    ArchivePseudonymizer,
    RewrittenSegment,
    keep_pseudonymized,
    sweep,
)
from workers.erasure.begin import Person, begin
from workers.erasure.runner import Eraser
from workers.model.batch import Delivery, Entry, TransientError
from workers.postgres.database import Pool, open_pool
from workers.redis_io.connections import for_jobs


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    async with open_pool(database_url, size=4) as found:
        async with found.acquire() as connection:
            await furnish(connection)
        yield found


@pytest.fixture
async def yard(redis_url: str, tmp_path: Path) -> AsyncIterator[Yard]:
    async with for_jobs(redis_url) as redis:
        found = Yard(redis, tmp_path / "archive")
        await found.prepare()
        yield found
        found.close()


async def begun(pool: Pool) -> None:
    """Begin to erase Jane, of whom nothing is recorded."""
    async with pool.acquire() as connection:
        person = Person(WORKSPACE, None, JANE)
        await begin(connection, person, UUID(int=uuid7().int), "tester", "")


def an_archiver(yard: Yard, pool: Pool) -> Archiver:
    config = ArchiverConfig(
        directory=yard.directory, owner="one", pseudonymizer=ArchivePseudonymizer(pool)
    )
    made = Archiver(yard.redis, 0, config, yard.clock, lambda _: None)
    yard.archivers.append(made)
    return made


def said(directory: Path) -> set[str]:
    """What is said of Jane in any file."""
    raw = b"".join(content for _, content in files(directory)).lower()
    return {text for text in TRACES if text.lower().encode() in raw}


def a_segment(
    directory: Path, count: int = 3, before: Callable[[str], None] = lambda _: None
) -> Segment:
    """One of several frames, with a lead of Jane's in each."""
    writer = SegmentWriter(directory, "w", 0, 7)
    for number in range(count):
        payloads = [
            encode(janes_lead(number)),
            *(encode(a_click(n)) for n in range(900)),
        ]
        writer.add(
            [
                Delivery(Entry.of(7, 0, NOON_MS + number, at), payload)
                for at, payload in enumerate(payloads)
            ]
        )
    return writer.finish(before)


async def test_what_is_archived_after_it_is_archived_under_the_pseudonym(
    yard: Yard, pool: Pool
) -> None:
    await begun(pool)
    await yard.add(map(encode, HISTORY))
    archiver = an_archiver(yard, pool)

    await exhaust(archiver)
    await archiver.finish()

    assert not {JANE, "Jane Doe", "jane@doe.example"} & said(yard.directory)
    assert len(HISTORY) == len(yard.kept())


async def test_a_segment_under_way_is_rewritten_when_it_is_finished(
    yard: Yard, pool: Pool
) -> None:
    await yard.add(map(encode, HISTORY))
    archiver = an_archiver(yard, pool)
    await exhaust(archiver)

    await begun(pool)
    await archiver.finish()

    assert not {JANE, "Jane Doe", "jane@doe.example"} & said(yard.directory)
    (segment,) = segments(yard.directory)
    assert (1, None) == (segment.rewritten, problem(yard.directory, segment))
    assert 0 == await yard.pending()


async def test_a_segment_that_ends_while_postgres_is_away_is_rewritten_afterwards(
    yard: Yard, pool: Pool, database_url: str
) -> None:
    await yard.add(map(encode, HISTORY))
    async with open_pool(database_url, size=1) as theirs:
        archiver = an_archiver(yard, theirs)
        await exhaust(archiver)
        await begun(pool)
        await keep_pseudonymized(pool, yard.directory, ["one"])
        assert await is_swept(pool, yard.directory)
    await archiver.finish()
    assert JANE in said(yard.directory)

    await keep_pseudonymized(pool, yard.directory, ["one"])

    assert not {JANE, "Jane Doe", "jane@doe.example"} & said(yard.directory)
    assert [] == marked(yard.directory)
    assert len(HISTORY) == len(yard.kept())


async def test_a_segment_whose_archiver_died_over_its_review_is_rewritten(
    pool: Pool, tmp_path: Path
) -> None:
    a_segment(tmp_path)
    await begun(pool)
    await keep_pseudonymized(pool, tmp_path, ["w"])
    assert not said(tmp_path)
    late = a_segment(tmp_path, 2, partial(mark, tmp_path))
    # Somebody was at it, and died before the former file was deleted.
    former = late.data(tmp_path).read_bytes()
    await keep_pseudonymized(pool, tmp_path, ["w"])
    late.data(tmp_path).write_bytes(former)
    mark(tmp_path, late.key)

    await keep_pseudonymized(pool, tmp_path, ["w"])

    assert not said(tmp_path)
    assert [] == marked(tmp_path)


async def test_an_archive_to_which_more_came_meanwhile_is_not_called_swept(
    pool: Pool, tmp_path: Path
) -> None:
    a_segment(tmp_path)
    await begun(pool)
    state = tmp_path / rewrite.STATE_FILE

    class Meddling:
        """As if indexes came from a store while the sweep is under way."""

        def __getattr__(self, name: str) -> Any:
            return getattr(pool, name)

        async def acquire(self, **how: Any) -> Any:
            if state.exists():
                state.unlink()
            return await pool.acquire(**how)

    await sweep(Meddling(), tmp_path, ["w"])  # type: ignore[arg-type]  # all it does
    assert not await is_swept(pool, tmp_path)

    await keep_pseudonymized(pool, tmp_path, ["w"])
    assert await is_swept(pool, tmp_path)


async def test_what_a_dead_archiver_left_unfinished_goes(
    yard: Yard, pool: Pool
) -> None:
    await yard.add(map(encode, HISTORY))
    await exhaust(yard.archiver("dead"))
    await begun(pool)
    parts = yard.directory / "open"

    # Nobody is known to live, or it is held still: it may be all that is left.
    for living in ([], ["another"]):
        await keep_pseudonymized(pool, yard.directory, living)
        assert ["dead.s0.part"] == [path.name for path, _ in files(parts)]
    yard.die()
    await keep_pseudonymized(pool, yard.directory, ["another"])
    assert [] == list(files(parts))


async def test_a_reader_under_way_goes_on_in_the_new_file(
    tmp_path: Path, pool: Pool
) -> None:
    segment = a_segment(tmp_path)
    assert len(segment.frames) > 2
    pages: list[SegmentPage] = [read(tmp_path, 0, 1 << 62)]
    await begun(pool)

    await sweep(pool, tmp_path, [])
    while cursor := pages[-1].next:
        pages.append(read(tmp_path, 0, 1 << 62, cursor=cursor))

    assert segment.entries == sum(len(page.deliveries) for page in pages)
    assert 0 == sum(page.damaged for page in pages)


async def test_who_has_the_old_index_in_hand_is_not_misled(
    tmp_path: Path, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    segment = a_segment(tmp_path)
    await begun(pool)
    await sweep(pool, tmp_path, [])

    with monkeypatch.context() as patched:
        patched.setattr("workers.archive.reader.segments", lambda *_: iter([segment]))
        page = read(tmp_path, 0, 1 << 62)

    assert (segment.frames[0].entries, 0) == (len(page.deliveries), page.damaged)
    assert problem(tmp_path, segment) is None


@pytest.mark.parametrize("step", ["index", "old"])
async def test_a_worker_that_dies_over_a_segment_leaves_it_whole(
    step: str, tmp_path: Path, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    segment = a_segment(tmp_path)
    await begun(pool)

    def dies(path: Path, *_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as mortal:
        if step == "index":
            mortal.setattr(Segment, "encode", dies)
        else:
            mortal.setattr(Path, "unlink", dies)
        with pytest.raises(KeyboardInterrupt):
            rewrite.rewrite(tmp_path, segment, {0: deliveries_of(tmp_path)})
    assert segment.entries == len(everything(tmp_path))

    await sweep(pool, tmp_path, [])

    assert segment.entries == len(everything(tmp_path))
    assert set() == said(tmp_path)
    assert [] == list(unfinished(tmp_path))
    assert 1 == len({path for path, _ in files(tmp_path) if path.suffix == ".zst"})


def deliveries_of(directory: Path) -> list[Delivery]:
    return list(read(directory, 0, 1 << 62).deliveries)


async def test_two_that_rewrite_at_once_leave_one_file(
    tmp_path: Path, pool: Pool
) -> None:
    segment = a_segment(tmp_path, 6)
    await begun(pool)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(4):
            tasks.create_task(sweep(pool, tmp_path, []))

    (now,) = segments(tmp_path)
    assert (segment.entries, None) == (now.entries, problem(tmp_path, now))
    assert set() == said(tmp_path)


async def test_the_append_only_file_forgets_too(pool: Pool, tmp_path: Path) -> None:
    with running_valkey() as server:
        async with for_jobs(server.url) as redis:
            yard = Yard(redis, tmp_path)
            await yard.prepare()
            ids = await yard.add(map(encode, HISTORY))
            await redis.xreadgroup("recorder", "one", {"{rt:0}:events": ">"})
            await redis.xack("{rt:0}:events", "recorder", *ids)
            await begun(pool)
            for entry in ids:
                ms, seq = entry.split(b"-")
                await pool.execute(
                    "insert into erasure_leftovers (epoch, shard, entry_ms, entry_seq)"
                    " values (7, 0, $1, $2)",
                    int(ms),
                    int(seq),
                )
            directory = server._directory

            async def is_there() -> bool:
                return JANE in said(directory)

            # It writes later while it waits for a disk.
            await eventually(is_there)

            eraser = Eraser(pool, redis, [0])

            async def is_done() -> bool:
                return not await eraser.work()

            await eventually(is_done)

            async def is_forgotten() -> bool:
                # It renames and deletes files meanwhile.
                with suppress(FileNotFoundError):
                    return not said(directory)
                return False

            await eventually(is_forgotten)
            assert [] == await traces(TRACES, pool, redis)


async def test_what_only_the_store_has_is_rewritten_and_takes_its_place(
    tmp_path: Path, pool: Pool
) -> None:
    archive = StoredArchive(tmp_path)
    gone, here = a_segment(archive.directory), a_segment(archive.directory, 2)
    await archive.uploader().step()
    gone.data(archive.directory).unlink()
    fetcher = SegmentFetcher(archive.directory, archive.store())
    await begun(pool)
    assert set() != said(archive.bucket)

    swept = await sweep(pool, archive.directory, ["w"], fetcher)
    await archive.uploader().step()

    assert RewrittenSegment(2, 5) == swept
    assert await is_swept(pool, archive.directory)
    assert set() == said(archive.bucket) | said(archive.directory)
    now = [load_segment(archive.bucket, each.key) for each in (gone, here)]
    assert archive.names(*now) == list(archive.stored())
    assert [None, None] == [problem(archive.bucket, each) for each in now]


async def test_an_archive_is_not_clean_before_its_store_is(
    tmp_path: Path, pool: Pool
) -> None:
    archive = StoredArchive(tmp_path)
    gone, here = a_segment(archive.directory), a_segment(archive.directory, 2)
    await archive.uploader().step()
    gone.data(archive.directory).unlink()
    dead = SegmentFetcher(archive.directory, archive.store(0))
    await begun(pool)

    with pytest.raises(TransientError):
        await keep_pseudonymized(pool, archive.directory, ["w"], dead)
    await keep_pseudonymized(pool, archive.directory, ["w"])

    assert (1, set()) == (
        load_segment(archive.directory, here.key).rewritten,
        said(archive.directory),
    )
    assert not await is_swept(pool, archive.directory)

    await keep_pseudonymized(
        pool,
        archive.directory,
        ["w"],
        SegmentFetcher(archive.directory, archive.store()),
    )
    assert await is_swept(pool, archive.directory)


async def test_a_lost_archive_that_comes_back_is_rewritten_too(
    tmp_path: Path, pool: Pool
) -> None:
    archive = StoredArchive(tmp_path)
    a_segment(archive.directory)
    await archive.uploader().step()
    shutil.rmtree(archive.directory)
    archive.directory.mkdir()
    fetcher = SegmentFetcher(archive.directory, archive.store())
    await begun(pool)
    # Of an empty directory everything is known.
    await keep_pseudonymized(pool, archive.directory, ["w"], fetcher)

    await fetcher.refresh()
    await keep_pseudonymized(pool, archive.directory, ["w"], fetcher)
    await archive.uploader().step()

    assert set() == said(archive.bucket) | said(archive.directory)
