"""A person is erased while workers write, others die, and events are on the way."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from uuid_utils.compat import uuid7

from ingest.contracts.encoding.envelopes import encode
from ingest.contracts.envelope import Envelope
from tests.support.directory import LINKS, NOON_MS, WORKSPACE, a_lead, an_id
from tests.support.eventually import eventually
from tests.support.workers.erasures import (
    HISTORY,
    JANE,
    balanced,
    counted,
    erase,
    finish,
    janes_click,
    janes_lead,
    janes_sale,
    left,
)
from tests.support.workers.replaying import Site, a_site
from tests.support.workers.working import is_acknowledged, working
from workers.erasure.begin import Person, begin, find_people
from workers.erasure.runner import Eraser
from workers.erasure.suppression import SuppressionsOutdated
from workers.model.batch import Delivery, Entry, TransientError
from workers.postgres.database import Pool


@pytest.fixture
async def site(
    redis_url: str, database_url: str, tmp_path: Path
) -> AsyncIterator[Site]:
    async with a_site(redis_url, database_url, tmp_path / "archive") as made:
        yield made


async def test_wherever_a_worker_dies_another_one_goes_on(site: Site) -> None:
    await site.add(*HISTORY)
    await site.record()
    before = await counted(site)
    async with site.pool.acquire() as connection:
        (person,) = await find_people(connection, JANE, None)
        await begin(connection, person, uuid7(), "tester", "")

    deaths = 0
    while True:
        try:
            await Eraser(Mortal(site.pool, deaths + 1), site.redis, [0]).work()
        except TransientError:
            deaths += 1
        else:
            break

    assert deaths > 5
    assert [] == await left(site)
    assert before == await counted(site)
    assert await balanced(site)


async def test_several_at_once_are_not_in_each_others_way(site: Site) -> None:
    await site.add(*HISTORY, *(janes_nowhere(100 + n) for n in range(40)))
    await site.record()
    async with site.pool.acquire() as connection:
        (person,) = await find_people(connection, JANE, None)
        await begin(connection, person, uuid7(), "tester", "")

    async with asyncio.TaskGroup() as group:
        for _ in range(4):
            group.create_task(finish(site))

    assert [] == await left(site)


def janes_nowhere(number: int, of: int = 1) -> Envelope:
    """A click of a visit of hers that waits in quarantine."""
    nowhere = {"link_id": None, "namespaces": ("-",), "code": "nowhere"}
    return janes_click(number, **nowhere, root_id=an_id(of))


class Mortal:
    """A pool that is used so often and no more."""

    def __init__(self, pool: Pool, times: int) -> None:
        self._pool = pool
        self._times = times

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pool, name)

    async def acquire(self, **how: Any) -> Any:
        if not self._times:
            raise OSError("dead")
        self._times -= 1
        return await self._pool.acquire(**how)


async def test_a_writer_that_did_not_know_begins_anew(site: Site) -> None:
    await site.add(*HISTORY[:3])
    await site.record()
    pipeline = site.replays().replayer._pipeline
    await pipeline.suppressions.refresh(site.pool)
    await site.add(janes_lead(4))
    async with site.pool.acquire() as connection:
        (person,) = await find_people(connection, str(an_id(1)), None)
        await begin(connection, person, uuid7(), "tester", "")
    late = [
        Delivery(Entry(1, 0, NOON_MS, 77), encode(janes_click(2, root_id=an_id(1))))
    ]

    with pytest.raises(SuppressionsOutdated):
        await pipeline.process(late)
    assert late == await pipeline.process(late)

    assert 0 == await site.value(
        "select count(*)::int from events where id = $1 and visitor is not null",
        an_id(2),
    )


async def test_what_a_batch_did_not_know_another_of_the_process_does_not_vouch_for(
    site: Site,
) -> None:
    await site.add(*HISTORY)
    await site.record()
    pipeline = site.replays().replayer._pipeline
    late = Delivery(Entry(1, 0, NOON_MS, 77), encode(janes_lead(77, dedupe=None)))
    prepared = await pipeline.unseal([late])
    async with site.pool.acquire() as connection:
        (person,) = await find_people(connection, JANE, None)
        await begin(connection, person, uuid7(), "tester", "")
    await pipeline.suppressions.refresh(site.pool)

    with pytest.raises(SuppressionsOutdated):
        await pipeline._record(prepared)

    assert [late] == await pipeline.process([late])
    assert 0 == await site.value(
        "select count(*)::int from customers where external_id = $1", JANE
    )


async def test_it_is_done_beside_workers_that_write(site: Site) -> None:
    await site.add(*HISTORY)
    others = [
        a_lead(
            1000 + n, external_id=f"other-{n % 7}", click_id=an_id(1), link_id=LINKS[0]
        )
        for n in range(300)
    ]
    hers = [janes_sale(2000 + n, dedupe=None, at=NOON_MS + n) for n in range(100)]
    async with (
        working("w1", site.redis_url, site.database_url, batch_size=20),
        working("w2", site.redis_url, site.database_url, batch_size=20),
    ):
        await site.add(*others[:150], *hers[:50])
        await eventually(lambda: is_recorded(site))
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(erase(site))
            tasks.create_task(erase(site, str(an_id(3))))
            tasks.create_task(site.add(*hers[50:], *others[150:]))
        await eventually(lambda: is_acknowledged(site.redis))
    await finish(site)

    assert [] == await left(site)
    assert 101 == await site.value(
        "select sales::int from links where public_id = 'L0'"
    )
    assert await balanced(site)


async def test_who_is_recorded_while_the_operator_is_asked_is_erased(
    site: Site,
) -> None:
    unknown = Person(WORKSPACE, None, JANE)
    await site.add(*HISTORY)
    await site.record()

    for _ in range(2):  # two operators
        async with site.pool.acquire() as connection:
            await begin(connection, unknown, uuid7(), "tester", "")
    await finish(site)

    assert [] == await left(site)
    assert 1 == await site.value("select count(*)::int from erasures")
    assert await balanced(site)


async def test_what_becomes_known_while_it_is_worked_off_is_erased_too(
    site: Site,
) -> None:
    await site.add(*HISTORY)
    await site.record()
    await erase(site)

    async def again() -> None:
        async with site.pool.acquire() as connection:
            (person,) = await find_people(connection, JANE, None)
            await begin(connection, person, uuid7(), "tester", "")

    # She logs in on two devices, and for the other one she is erased again, at every moment.
    for moment in count():
        one, other = 100 + 2 * moment, 101 + 2 * moment
        for number in (one, other):
            await site.add(a_visit(number), janes_nowhere(200 + number, of=number))
        await site.add(janes_sale(400 + one, click_id=an_id(one), dedupe=None))
        await site.record()
        await again()
        await site.add(janes_sale(400 + other, click_id=an_id(other), dedupe=None))
        await site.record()
        meddled = Meddled(site.pool, moment, again)
        await Eraser(meddled, site.redis, [0]).work()  # type: ignore[arg-type]  # all it does
        if not meddled.is_done:
            break
        await finish(site)
        assert [] == await left(site), moment
    assert moment > 10


def a_visit(number: int) -> Envelope:
    return janes_click(
        number, visitor=b"%08d" % number, session=f"sess-of-jane-{number}"
    )


class Meddled:
    """A pool by which somebody else does something before it is used the nth time."""

    def __init__(self, pool: Pool, nth: int, meddle: Callable[[], Awaitable[None]]):
        self._pool = pool
        self._left = nth
        self._meddle = meddle
        self.is_done = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pool, name)

    async def acquire(self, **how: Any) -> Any:
        if not self._left:
            await self._meddle()
            self.is_done = True
        self._left -= 1
        return await self._pool.acquire(**how)


async def test_a_list_that_a_backup_brought_back_is_read_anew(site: Site) -> None:
    await site.add(*HISTORY)
    await site.record()
    pipeline = site.replays().replayer._pipeline
    async with site.pool.acquire() as connection:
        for name in ("joe", "jim"):
            person = Person(WORKSPACE, None, name)
            await begin(connection, person, uuid7(), "tester", "")
        await pipeline.suppressions.refresh(site.pool)
        # The backup was made between the two, and the number in it is not known here.
        await connection.execute(
            "delete from erasures where id = (select max(id::text)::uuid from erasures)"
        )
        await connection.execute("update erasure_key set version = version - 1")
        await connection.execute(
            "select setval(pg_get_serial_sequence('suppressions', 'seq'), max(seq))"
            " from suppressions"
        )
        (jane,) = await find_people(connection, JANE, None)
        await begin(connection, jane, uuid7(), "tester", "")
    late = Delivery(Entry(1, 0, NOON_MS, 77), encode(janes_lead(77, dedupe=None)))

    while True:
        try:
            await pipeline.process([late])
            break
        except SuppressionsOutdated:
            continue

    assert 0 == await site.value(
        "select count(*)::int from customers where external_id = $1", JANE
    )
    assert not pipeline.suppressions.has_customer(WORKSPACE, "jim")


async def is_recorded(site: Site) -> bool:
    """Whether those who are to be erased are there."""
    known = "select count(*)::int from customers where id = $1 or external_id = $2"
    return bool(2 == await site.value(known, an_id(3), JANE))


async def test_what_comes_before_the_rows_are_rewritten_meets_its_customer(
    site: Site,
) -> None:
    await site.add(*HISTORY)
    await site.record()
    async with site.pool.acquire() as connection:
        (person,) = await find_people(connection, JANE, None)
        await begin(connection, person, uuid7(), "tester", "")

    again = [janes_lead(40, at=NOON_MS + 9000), janes_sale(50, dedupe=None)]
    await site.add(*again)
    await site.record()
    await finish(site)

    assert [] == await left(site)
    hers = "select count(distinct customer_id)::int from events where kind = 'sale'"
    assert 1 == await site.value(hers)
    counts = "select leads::int, sales::int from links where public_id = 'L0'"
    assert [(2, 2)] == [tuple(row) for row in await site.pool.fetch(counts)]
    assert await balanced(site)


async def test_begun_again_it_is_the_same_erasure(site: Site) -> None:
    await site.add(*HISTORY)
    await site.record()
    first = await erase(site)
    rows = "select md5(string_agg(t::text, '' order by id)) from events t"
    before = await site.value(rows)

    assert first == await erase(site)

    assert before == await site.value(rows)


async def test_a_visit_that_turns_out_to_be_the_persons_is_erased_too(
    site: Site,
) -> None:
    await site.add(*HISTORY)
    await site.record()
    await erase(site)
    # Another device, of which nobody knows whose it is, until she logs in.
    await site.add(
        janes_click(70), janes_click(71, root_id=an_id(70), root_link_id=LINKS[0])
    )
    await site.record()
    assert await left(site)
    await site.add(janes_sale(72, click_id=an_id(70), dedupe=None))
    await site.record()
    before = await counted(site)

    eraser = Eraser(site.pool, site.redis, [0])
    await eraser.grow()
    await finish(site)

    assert [] == await left(site)
    assert before == await counted(site)
    assert await balanced(site)
