"""One visitor with very many clicks: few of them are read, and the right one earns."""

from ingest.contracts.envelope import Envelope
from tests.support.directory import LINKS, NOON_MS, a_click, a_lead
from tests.support.workers.recording import (
    record_later,
    rows_attribution_reads,
    rows_of,
)
from workers.postgres.database import Pool

_DAY_MS = 24 * 3600 * 1000


async def _visited(pool: Pool, visits: int, leads: int) -> Envelope:
    """A root click with so many later clicks, and leads that name it."""
    root = a_click(1)
    await record_later(
        pool,
        root,
        *(
            a_lead(
                2 + number,
                at=NOON_MS + _DAY_MS,
                click_id=root.id,
                link_id=LINKS[0],
                name=f"lead {number}",
            )
            for number in range(leads)
        ),
    )
    async with pool.acquire() as connection:
        await connection.execute(
            """
            insert into events (id, at, digest, kind, is_test, is_bot, is_duplicate, quantity, epoch, shard,
                                entry_seq, entry_ms, workspace_id, link_id, program_id, partner_id, click_id, dialect)
            select (left(id::text, 24) || lpad(to_hex(1000000 + number), 12, '0'))::uuid,
                   at + number * interval '1 ms', 1, 'click', false, false, false, 1, 9, 0,
                   number, 0, workspace_id, link_id, program_id, partner_id, id, 'affitor'
              from events, generate_series(1, $2::int) as number
             where id = $1""",
            root.id,
            visits,
        )
        await connection.execute("analyze events")
    return root


async def _read(pool: Pool, root: Envelope, since_ms: int | None) -> int:
    """How many rows of `events` attributing the root's leads reads."""
    return await rows_attribution_reads(pool, [root.id], since_ms)


async def test_a_lead_reads_few_of_its_visitors_clicks(pool: Pool) -> None:
    root = await _visited(pool, visits=20_000, leads=10)

    assert await _read(pool, root, None) < 200


async def test_a_click_reads_nothing_of_leads_before_it(pool: Pool) -> None:
    root = await _visited(pool, visits=20_000, leads=10)

    assert await _read(pool, root, NOON_MS + 2 * _DAY_MS) <= 20


async def test_a_click_that_its_lead_names_earns_it_though_clocks_say_it_came_later(
    pool: Pool,
) -> None:
    click = a_click(1, at=NOON_MS + 5)
    lead = a_lead(2, click_id=click.id, link_id=LINKS[0])

    await record_later(pool, lead)
    await record_later(pool, click)

    assert [(click.id,)] == await rows_of(
        pool, "select attributed_id from events where id = $1", lead.id
    )
