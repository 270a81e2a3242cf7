"""What streams and quarantine hold of a person who is erased."""

from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import pytest
from uuid_utils.compat import uuid7

from tests.support.directory import a_click
from tests.support.workers.erasures import (
    HISTORY,
    JANE,
    balanced,
    erase,
    finish,
    janes_sale,
    left,
)
from tests.support.workers.replaying import Site, a_site
from tests.support.workers.working import STREAM
from workers.erasure.begin import begin, find_people
from workers.erasure.runner import Eraser
from workers.redis_io.stream_state import read_stream
from workers.redrive.page import Redriver


@pytest.fixture
async def site(
    redis_url: str, database_url: str, tmp_path: Path
) -> AsyncIterator[Site]:
    async with a_site(redis_url, database_url, tmp_path / "archive") as made:
        yield made


async def test_what_waits_in_quarantine_is_recorded_under_the_pseudonym(
    site: Site,
) -> None:
    await site.add(*HISTORY)
    await site.record()
    await erase(site)

    await site.pool.execute(
        "insert into links (id, workspace_id, public_id, namespace, code)"
        " values ($1, $2, 'nowhere', '-', 'nowhere')",
        UUID(int=0x77),
        UUID(int=1),
    )
    await site.pool.execute("update quarantine set redrive_at = now()")
    await Redriver(site.replays().replayer._pipeline).work()
    await finish(site)

    assert 1 == await site.value("select clicks::int from links where code = 'nowhere'")
    assert [] == await left(site)
    assert await balanced(site)


async def test_an_entry_that_no_row_tells_of_goes_too(site: Site) -> None:
    await site.add(*HISTORY, janes_sale(80, dedupe=None, is_test=True, properties={}))
    await site.record()
    await site.pool.execute("delete from repeats; delete from quarantine")

    await erase(site)

    assert [] == await left(site)


async def test_an_entry_goes_only_when_every_group_has_read_it(site: Site) -> None:
    await site.add(*HISTORY)
    await site.record()
    await site.redis.xgroup_create(STREAM, "others", "0")
    async with site.pool.acquire() as connection:
        (person,) = await find_people(connection, JANE, None)
        await begin(connection, person, uuid7(), "tester", "")
    eraser = Eraser(site.pool, site.redis, [0])

    assert await eraser.work() > 0
    assert 9 == await site.redis.xlen(STREAM)
    await site.redis.xreadgroup("others", "one", {STREAM: ">"})
    assert await eraser.work() > 0
    ids = [entry for entry, _ in await site.redis.xrange(STREAM)]
    await site.redis.xack(STREAM, "others", *ids)

    await finish(site)
    assert [] == await left(site)
    await site.count_losses()
    assert await balanced(site)
    stream = await read_stream(site.redis, 0)
    assert stream is not None
    assert (9, 0) == (stream.added, stream.removed_by_others)


async def test_of_the_dead_nothing_is_looked_for_in_another_life(site: Site) -> None:
    await site.add(*HISTORY)
    await site.record()
    await site.redis.flushdb()
    await site.add(a_click(60))
    await site.record()

    await erase(site)

    assert 1 == await site.redis.xlen(STREAM)
    assert 0 == await site.value("select count(*)::int from erasure_leftovers")


async def test_what_nobody_can_read_is_emptied_where_it_names_the_person(
    site: Site,
) -> None:
    await site.add(*HISTORY, b"not JSON: jane-4711 jane@doe.example", b"not JSON: joe")
    await site.record()

    await erase(site)

    assert [] == await left(site)
    kept = "select count(*)::int from quarantine where payload = 'not JSON: joe'"
    assert 1 == await site.value(kept)
    assert await balanced(site)
