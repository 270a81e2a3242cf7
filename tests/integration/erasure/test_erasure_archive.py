"""Erasure beside archiving: what is being written, what is being read, who dies meanwhile."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from ingest.contracts.encoding.envelopes import encode
from tests.support.eventually import eventually
from tests.support.grepping import files, traces
from tests.support.servers.valkey import running_valkey
from tests.support.workers.archives import Yard, everything, exhaust
from tests.support.workers.erasures import (
    HISTORY,
    JANE,
    TRACES,
    a_segment,
    begun,
    is_swept,
    said,
)
from workers.archive import rewrite
from workers.archive.archiver import Archiver, ArchiverConfig
from workers.archive.reader import (
    SegmentPage,
    problem,
    read,
    segments,
    unfinished,
)
from workers.archive.rewrite import mark, marked
from workers.archive.segment import Segment
from workers.erasure.archives import (
    ArchivePseudonymizer,
    keep_pseudonymized,
    sweep,
)
from workers.erasure.runner import Eraser
from workers.model.batch import Delivery
from workers.postgres.database import Pool, open_pool
from workers.redis_io.connections import for_jobs


@pytest.fixture
async def yard(redis_url: str, tmp_path: Path) -> AsyncIterator[Yard]:
    async with for_jobs(redis_url) as redis:
        found = Yard(redis, tmp_path / "archive")
        await found.prepare()
        yield found
        found.close()


def an_archiver(yard: Yard, pool: Pool) -> Archiver:
    config = ArchiverConfig(
        directory=yard.directory, owner="one", pseudonymizer=ArchivePseudonymizer(pool)
    )
    made = Archiver(yard.redis, 0, config, yard.clock, lambda _: None)
    yard.archivers.append(made)
    return made


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
        patched.setattr(
            "workers.archive.reader.segments", lambda *_, **__: iter([segment])
        )
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
