"""Milestones: reached once, awarded once."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from itertools import count
from typing import Any
from uuid import UUID, uuid4

import pytest
from msgspec import structs

from ingest.contracts.encoding.envelopes import encode
from ingest.contracts.envelope import Dedupe, Envelope
from tests.support.directory import (
    FIRST_CLICK,
    LAST_CLICK,
    LINKS,
    NOON_MS,
    PARTNERS,
    a_click,
    a_lead,
    an_id,
    furnish,
)
from workers.enrich import build_enrichers
from workers.model.batch import Boundary, Delivery, Entry
from workers.pipeline.pipeline import Pipeline
from workers.postgres.database import Pool, open_pool

_ENRICH = build_enrichers(None)
_ENTRIES = count()

#: Two milestones of the first program, one of the second.
_ONE, _THREE, _ELSEWHERE = UUID(int=0x71), UUID(int=0x73), UUID(int=0x72)


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    async with open_pool(database_url, size=10) as pool:
        async with pool.acquire() as connection:
            await furnish(connection)
            await connection.executemany(
                "insert into milestones (id, program_id, name, converts) values ($1, $2, $3, $4)",
                [
                    (_ONE, LAST_CLICK, "one", 1),
                    (_THREE, LAST_CLICK, "three", 3),
                    (_ELSEWHERE, FIRST_CLICK, "one", 1),
                ],
            )
        yield pool


def _pipeline(pool: Pool, consumer: str = "tester") -> Pipeline:
    return Pipeline(
        pool=pool,
        enrich=_ENRICH,
        consumer=consumer,
        clock=lambda: NOON_MS,
        new_id=uuid4,
    )


def _deliveries(envelopes: Sequence[Envelope]) -> list[Delivery]:
    return [
        Delivery(Entry(1, 0, NOON_MS, next(_ENTRIES)), encode(envelope))
        for envelope in envelopes
    ]


async def _record(pool: Pool, *envelopes: Envelope) -> None:
    deliveries = _deliveries(envelopes)
    assert deliveries == await _pipeline(pool).process(deliveries)


async def _awards(pool: Pool) -> list[tuple[UUID, UUID]]:
    async with pool.acquire() as connection:
        found = await connection.fetch(
            "select milestone_id, partner_id from awards order by 1, 2"
        )
        return [tuple(record) for record in found]


def _converted(number: int, link: UUID = LINKS[0], **changes: Any) -> Envelope:
    """A lead on a link itself, once per session."""
    dedupe = Dedupe.of("convert", str(link), f"session-{number}")
    values = {"external_id": None, "link_id": link, "dedupe": dedupe} | changes
    return a_lead(number, session=f"session-{number}", **values)


async def test_a_milestone_is_awarded_with_the_lead_that_reaches_it(pool: Pool) -> None:
    await _record(pool, _converted(1))
    first = await _awards(pool)
    await _record(pool, _converted(2))
    second = await _awards(pool)
    await _record(pool, _converted(3))

    one, three = (_ONE, PARTNERS[0]), (_THREE, PARTNERS[0])
    assert ([one], [one], [one, three]) == (first, second, await _awards(pool))
    async with pool.acquire() as connection:
        by = await connection.fetch("select event_id from awards order by milestone_id")
    assert [_converted(1).id, _converted(3).id] == [row["event_id"] for row in by]


async def test_leads_of_one_batch_count_together(pool: Pool) -> None:
    await _record(pool, *(_converted(number) for number in range(3)))

    assert [(_ONE, PARTNERS[0]), (_THREE, PARTNERS[0])] == await _awards(pool)


async def test_a_lead_delivered_again_reaches_nothing(pool: Pool) -> None:
    deliveries = _deliveries([_converted(1), _converted(2)])
    again = list(deliveries)
    for batch in (deliveries, again, deliveries):
        assert batch == await _pipeline(pool).process(batch)
    # The same conversions, each as a request of its own.
    await _record(
        pool, *(structs.replace(_converted(n), id=an_id(500 + n)) for n in (1, 2))
    )

    assert [(_ONE, PARTNERS[0])] == await _awards(pool)


async def test_clicks_and_tests_reach_nothing(pool: Pool) -> None:
    test = a_lead(9, is_test=True, external_id=None, program_id=LAST_CLICK)

    await _record(pool, *(a_click(number) for number in range(5)), test)

    assert [] == await _awards(pool)


async def test_leads_on_several_links_of_a_partner_count_by_program(pool: Pool) -> None:
    await _record(pool, _converted(1), _converted(2), _converted(3, LINKS[2]))

    expected = [(_ONE, PARTNERS[0]), (_ELSEWHERE, PARTNERS[0])]
    assert expected == await _awards(pool)


async def test_an_award_stays_when_its_lead_turns_out_to_be_anothers(
    pool: Pool,
) -> None:
    """A later click of another partner's link is read after the lead was counted."""
    first = a_click(1)
    lead = a_lead(2, at=NOON_MS + 9, click_id=first.id, link_id=LINKS[0])
    late = a_click(
        3, at=NOON_MS + 5, link_id=LINKS[1], root_id=first.id, root_link_id=LINKS[0]
    )
    await _record(pool, first, lead)
    before = await _awards(pool)

    await _record(pool, late)

    async with pool.acquire() as connection:
        leads = await connection.fetch(
            "select leads from program_partners where program_id = $1 order by partner_id",
            LAST_CLICK,
        )
    assert [0, 1] == [row["leads"] for row in leads]
    assert [(_ONE, PARTNERS[0])] == before
    assert [(_ONE, PARTNERS[0]), (_ONE, PARTNERS[1])] == await _awards(pool)


async def test_a_milestone_made_late_is_awarded_with_the_next_lead(pool: Pool) -> None:
    await _record(pool, *(_converted(number) for number in range(4)))
    async with pool.acquire() as connection:
        await connection.execute(
            "insert into milestones (id, program_id, name, converts) values ($1, $2, 'two', 2)",
            UUID(int=0x74),
            LAST_CLICK,
        )
    before = await _awards(pool)

    await _record(pool, _converted(9))

    assert {(UUID(int=0x74), PARTNERS[0])} == {*await _awards(pool)} - {*before}


async def test_concurrent_workers_pass_no_milestone_unseen(pool: Pool) -> None:
    """Eight workers, a lead a batch, every lead three times: the count is passed once."""
    leads = [_converted(number, LINKS[number % 2]) for number in range(40)]
    async with pool.acquire() as connection:
        await connection.executemany(
            "insert into milestones (id, program_id, name, converts) values ($1, $2, $3, $4)",
            [(uuid4(), LAST_CLICK, f"after {n}", n) for n in range(2, 31) if n != 3],
        )
    deliveries = _deliveries(leads * 3)

    async def work(worker: int) -> None:
        for delivery in deliveries[worker::8]:
            await _pipeline(pool, f"w{worker}").process([delivery])

    async with asyncio.TaskGroup() as group:
        for worker in range(8):
            group.create_task(work(worker))

    async with pool.acquire() as connection:
        reached = await connection.fetch(
            "select partner_id, max(converts) as furthest, count(*) as awards"
            " from awards join milestones on milestones.id = milestone_id"
            " group by 1 order by 1"
        )
    assert [(PARTNERS[0], 20, 20), (PARTNERS[1], 20, 20)] == [tuple(r) for r in reached]


class _Died(BaseException):
    """As if the process had been killed on this line."""


async def test_a_worker_that_dies_before_its_commit_awards_nothing(pool: Pool) -> None:
    def dies(boundary: Boundary) -> None:
        if boundary == "written":
            raise _Died

    deliveries = _deliveries([_converted(1)])
    dying = replace(_pipeline(pool), boundary=dies)

    with pytest.raises(_Died):
        await dying.process(deliveries)
    before = await _awards(pool)
    await _pipeline(pool).process(deliveries)

    assert ([], [(_ONE, PARTNERS[0])]) == (before, await _awards(pool))
