"""Idempotency keys and other claims: how long they make two requests one event."""

from collections.abc import Sequence
from datetime import timedelta

import pytest

from ingest.contracts.envelope import Dedupe, Envelope
from tests.support.directory import NOON_MS, a_click, a_lead, an_id
from tests.support.workers.recording import ledger_of, record_later, rows_of
from workers.jobs.cleanup import sweep_claims
from workers.model.rows import timestamp
from workers.postgres.database import Pool
from workers.write.dedup import KEPT

_DAY_MS = 24 * 3600 * 1000


def _keyed(number: int, days: float, key: str = "k") -> Envelope:
    at = NOON_MS + round(days * _DAY_MS)
    return a_click(number, at=at, dedupe=Dedupe.of("affitor:click", key))


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0), (0, 2, 1)])
async def test_within_thirty_days_a_key_is_one_event_in_any_order(
    pool: Pool, order: Sequence[int]
) -> None:
    events = [_keyed(number, days) for number, days in enumerate((0, 15, 29.9))]

    for place in order:
        await record_later(pool, events[place])

    assert [(events[0].id,)] == await rows_of(pool, "select id from events")
    assert [(timestamp(NOON_MS) + KEPT,)] == await rows_of(
        pool, "select expires_at from claims"
    )


async def test_a_key_much_later_is_a_new_event(pool: Pool) -> None:
    first, again, later, later_again = (
        _keyed(1, 0),
        _keyed(2, 29),
        _keyed(3, 31),
        _keyed(4, 45),
    )

    await record_later(pool, first)
    await record_later(pool, again, later)
    await record_later(pool, later_again)

    assert [(first.id,), (later.id,)] == await rows_of(
        pool, "select id from events order by id"
    )
    assert [(again.id, first.id), (later_again.id, later.id)] == await rows_of(
        pool, "select id, event_id from event_aliases order by id"
    )


async def test_leads_claim_for_good(pool: Pool) -> None:
    key = Dedupe.of("lead", "user", "sign up")

    await record_later(pool, a_lead(1, dedupe=key))
    await record_later(pool, a_lead(2, at=NOON_MS + 300 * _DAY_MS, dedupe=key))

    assert (1, 1, 0) == await ledger_of(pool)


async def test_claims_that_expired_long_ago_are_swept(pool: Pool) -> None:
    await record_later(pool, *(_keyed(number, 0, f"k{number}") for number in range(5)))
    await record_later(pool, a_lead(9, dedupe=Dedupe.of("lead", "user")))
    async with pool.acquire() as connection:
        await connection.execute(
            "update claims set expires_at = now() - $1::interval"
            " where event_id = any($2)",
            timedelta(days=29),
            [an_id(0), an_id(1)],
        )

    swept = await sweep_claims(pool, batch=2)

    assert 3 == swept
    assert [(an_id(0),), (an_id(1),), (an_id(9),)] == await rows_of(
        pool, "select event_id from claims order by event_id"
    )
