"""Visitors under ids of their sites' own: clicks and leads name a root that no click has."""

from itertools import permutations

from ingest.core.clicks import root_of
from tests.support.directory import LINKS, NOON_MS, WORKSPACE, a_click, a_lead
from tests.support.workers.recording import record, value_of
from workers.postgres.database import Pool

ROOT = root_of(WORKSPACE, "v_abc")


async def test_a_lead_that_overtakes_its_click_is_earned_in_any_order(
    pool: Pool,
) -> None:
    clicks = [
        a_click(1, root_id=ROOT, root_link_id=LINKS[0]),
        a_click(
            2,
            at=NOON_MS + 1,
            link_id=LINKS[1],
            root_id=ROOT,
            root_link_id=LINKS[1],
        ),
    ]
    # Of an edge that remembers the first click, and of one that does not.
    told = [
        a_lead(3, at=NOON_MS + 5, external_id="a", click_id=ROOT, link_id=LINKS[0]),
        a_lead(4, at=NOON_MS + 6, external_id=None, click_id=ROOT),
    ]
    for order in permutations([*clicks, *told]):
        async with pool.acquire() as connection:
            await connection.execute("truncate events, customers, repeats, ledger")
        for event in order:
            await record(pool, event)

        earned = "select count(*)::int from events where kind = 'lead' and link_id = $1"
        assert 2 == await value_of(pool, earned, LINKS[1]), order
