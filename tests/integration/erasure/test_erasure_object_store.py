"""Erasure of an archive whose segments are in an object store too, or only there."""

import shutil
from pathlib import Path

import pytest

from tests.support.servers.stores import StoredArchive
from tests.support.workers.erasures import a_segment, begun, is_swept, said
from workers.archive.object_store.fetch import SegmentFetcher
from workers.archive.reader import load_segment, problem
from workers.erasure.archives import RewrittenSegment, keep_pseudonymized, sweep
from workers.model.batch import TransientError
from workers.postgres.database import Pool


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
