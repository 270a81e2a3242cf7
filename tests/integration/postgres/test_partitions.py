"""Months that are detached count as before: what stays, and what is refused."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from ingest.contracts.envelope import Dedupe
from tests.support.directory import (
    LINKS,
    NOON_MS,
    PARTNERS,
    WORKSPACE,
    a_click,
    a_lead,
    a_sale,
    an_id,
)
from tests.support.servers.cli import Cli, servers_of
from tests.support.workers.detaching import (
    APRIL,
    DAY_MS,
    MAY,
    a_history,
    a_site,
    counters,
    is_right,
    pipeline,
    record,
    states,
)
from tests.support.workers.replaying import Site
from tests.support.workers.working import STREAM
from workers.postgres.database import Pool
from workers.publish.publisher import publish_changes
from workers.redrive.page import Redriver


@pytest.fixture
async def site(redis_url: str, database_url: str) -> AsyncIterator[Site]:
    async with a_site(redis_url, database_url) as made:
        yield made


@pytest.fixture
def cli(redis_url: str, database_url: str) -> Cli:
    made = servers_of(redis_url, database_url)
    return Cli({**made.variables, "REFTIDE_SHARDS": "1"})


# What stays, and what is refused -----------------------------------------------------


async def test_months_are_detached_and_attached_and_no_counter_changes(
    site: Site, cli: Cli
) -> None:
    await record(site.pool, *a_history())
    before = await counters(site.pool)

    done = await asyncio.to_thread(
        cli.document, "partitions", "detach", "--before", "2025-05"
    )

    taken = {one["partition"]: one["events"] for one in done["detached"]}
    # A sale is twenty days after its click.
    assert {"events_202503": 12, "events_202504": 12} == taken
    assert 12 == await site.value("select count(*) from events")
    assert before == await counters(site.pool)
    await is_right(site)
    assert ["detached", "detached", "attached"] == (await states(site.pool))[:3]

    back = await asyncio.to_thread(
        cli.document, "partitions", "attach", "--from", "2025-03"
    )

    assert ["events_202504", "events_202503"] == [
        one["partition"] for one in back["attached"]
    ]
    assert back["horizon"] is None
    assert 36 == await site.value("select count(*) from events")
    assert 0 == await site.value("select count(*) from counter_base")
    assert before == await counters(site.pool)
    await is_right(site)


async def test_what_comes_late_is_quarantined_until_its_month_is_attached(
    site: Site, cli: Cli
) -> None:
    await record(site.pool, a_click(1), a_click(2, at=APRIL))
    await asyncio.to_thread(cli.document, "partitions", "detach", "--before", "2025-04")

    await record(site.pool, a_click(3), a_click(4, at=APRIL))
    await site.value(
        "update quarantine set redrive_at = now(), look_at = null where reason = 'unstorable'"
    )
    await Redriver(pipeline(site.pool)).work()

    assert [("unstorable", 2)] == await _rows(
        site.pool, "select reason::text, attempts from quarantine"
    )
    assert "the partition events_202503 is detached" in await site.value(
        "select detail from quarantine"
    )
    await is_right(site)

    await asyncio.to_thread(cli.document, "partitions", "attach", "--from", "2025-03")
    await site.value("update quarantine set redrive_at = now()")
    await Redriver(pipeline(site.pool)).work()

    assert 4 == await site.value("select clicks from links where id = $1", LINKS[0])
    await is_right(site)


async def test_a_month_whose_table_was_dropped_is_not_made_anew(
    site: Site, cli: Cli
) -> None:
    await record(site.pool, a_click(1), a_click(2, at=APRIL))
    await asyncio.to_thread(cli.document, "partitions", "detach", "--before", "2025-04")
    await site.value("drop table events_202503")

    await record(site.pool, a_click(1), a_click(3, at=NOON_MS - 90 * DAY_MS))

    assert 2 == await site.value("select count(*)::int from quarantine")
    assert 2 == await site.value("select clicks from links where id = $1", LINKS[0])
    refused = await asyncio.to_thread(
        cli.run, "partitions", "attach", "--from", "2025-03"
    )
    assert (2, True) == (refused.code, "events_202503 is gone" in refused.err)
    [first, *_] = (await asyncio.to_thread(cli.document, "partitions", "list"))[
        "partitions"
    ]
    assert ("2025-03", "gone", 1) == (first["month"], first["state"], first["events"])
    await is_right(site)


async def test_who_asks_after_an_event_of_a_detached_month_is_told(
    site: Site, cli: Cli
) -> None:
    await record(site.pool, a_click(1), a_click(2, at=APRIL))
    await asyncio.to_thread(cli.document, "partitions", "detach", "--before", "2025-04")

    said = await asyncio.to_thread(cli.run, "event", str(an_id(1)))

    assert (1, True) == (said.code, "Its month is detached" in said.out)


async def test_a_replay_refuses_what_is_below_the_horizon(site: Site, cli: Cli) -> None:
    await record(site.pool, a_click(1), a_click(2, at=APRIL))
    await asyncio.to_thread(cli.document, "partitions", "detach", "--before", "2025-04")
    await site.add(a_click(1))
    await site.skip()

    done = await site.replay("reprocess")

    assert {"scanned": 1, "refused": 1} == done
    said = await asyncio.to_thread(
        cli.run, "replay", "--from", "2025-03-10", "--to", "2025-03-11"
    )
    assert (2, True) == (said.code, "until 2025-04-01 are detached" in said.err)


async def test_what_a_detached_click_earned_stays_earned(site: Site, cli: Cli) -> None:
    click = a_click(1, link_id=LINKS[0])
    who = {"click_id": click.id, "external_id": "someone"}
    await record(
        site.pool, click, a_lead(2, at=NOON_MS + 9, **who), a_sale(3, at=APRIL, **who)
    )
    await asyncio.to_thread(cli.document, "partitions", "detach", "--before", "2025-04")
    before = await _rows(
        site.pool, "select points_to from customers where id = $1", click.id
    )

    # Everything that is said of the customer is looked at again.
    await record(
        site.pool, a_sale(4, at=MAY, **who), a_click(5, at=MAY, click_id=click.id)
    )

    assert [(LINKS[0], click.id)] == await _rows(
        site.pool,
        "select link_id, attributed_id from events where id = $1",
        an_id(3, APRIL),
    )
    assert before == await _rows(
        site.pool, "select points_to from customers where id = $1", click.id
    )
    assert before[0][0] is not None
    await is_right(site)


async def test_a_detached_lead_keeps_its_claim(site: Site, cli: Cli) -> None:
    dedupe = Dedupe("lead", b"k" * 16)
    await record(
        site.pool, a_lead(1, dedupe=dedupe, link_id=LINKS[0], external_id=None)
    )
    await asyncio.to_thread(cli.document, "partitions", "detach", "--before", "2025-04")

    # Taken later, and said to have happened earlier.
    said = {"dedupe": dedupe, "link_id": LINKS[0], "external_id": None}
    await record(site.pool, a_lead(2, at=NOON_MS - 5, id=an_id(2, APRIL), **said))

    assert 1 == await site.value("select leads from links where id = $1", LINKS[0])
    assert 1 == await site.value("select sum(repeats)::int from ledger")
    await is_right(site)


async def test_what_partners_are_told_stays(site: Site, cli: Cli) -> None:
    await site.value("update programs set has_stats = true")
    await record(site.pool, *a_history())
    before = await _stats(site)

    await asyncio.to_thread(cli.document, "partitions", "detach", "--before", "2025-04")

    assert before == await _stats(site)
    assert 6 == before[0]["conversions"]


async def _stats(site: Site) -> list[dict[str, Any]]:
    from workers.postgres.sql import statements  # noqa: PLC0415 -- the statement itself is looked at

    async with site.pool.acquire() as connection:
        await publish_changes(connection, site.redis)
        codes = [f"prt{partner.int}" for partner in PARTNERS]
        found = await connection.fetch(
            statements("publish/publisher")["stats_find"], [WORKSPACE] * 2, codes
        )
    return sorted((dict(row) for row in found), key=str)


# What cannot be ----------------------------------------------------------------------


def test_a_month_whose_clicks_may_still_earn_stays(cli: Cli) -> None:
    refused = cli.run("partitions", "detach", "--before", "2026-11")

    assert (2, True) == (refused.code, "may still earn leads" in refused.err)
    assert "--before 2026-09" in refused.err


async def test_a_month_that_streams_still_hold_stays_open(site: Site, cli: Cli) -> None:
    await site.add(a_click(1), a_click(2, at=APRIL))
    await site.record()

    refused = await asyncio.to_thread(
        cli.run, "partitions", "detach", "--before", "2025-04"
    )

    assert (2, True) == (refused.code, "streams may still hold" in refused.err)
    assert "attached" == (await states(site.pool))[0]
    await site.redis.xtrim(STREAM, maxlen=0)
    await asyncio.to_thread(cli.document, "partitions", "detach", "--before", "2025-04")
    assert "detached" == (await states(site.pool))[0]


async def test_what_was_detached_by_hand_is_attached_first(
    site: Site, cli: Cli
) -> None:
    await record(site.pool, a_click(1), a_click(2, at=APRIL))
    await site.value("alter table events detach partition events_202503")

    refused = await asyncio.to_thread(
        cli.run, "partitions", "detach", "--before", "2025-04"
    )
    shown = await asyncio.to_thread(cli.run, "partitions", "list")
    await asyncio.to_thread(cli.document, "partitions", "attach", "--from", "2025-03")

    assert (2, True) == (refused.code, "detached by hand" in refused.err)
    assert "partitions attach --from 2025-03" in shown.out
    await is_right(site)


async def test_a_month_that_was_away_while_the_schema_grew_is_aligned(
    site: Site, cli: Cli
) -> None:
    await record(site.pool, a_click(1), a_click(2, at=APRIL))
    await asyncio.to_thread(cli.document, "partitions", "detach", "--before", "2025-04")
    await site.value("alter table events add column added text not null default 'x'")
    await site.value("alter table events_202503 alter column entry_seq type integer")

    await asyncio.to_thread(cli.document, "partitions", "attach", "--from", "2025-03")

    assert ["x", "x"] == await site.value("select array_agg(added) from events")
    await is_right(site)


def test_a_month_is_written_as_one(cli: Cli) -> None:
    assert 2 == cli.run("partitions", "detach", "--before", "2025-13").code
    nothing = cli.run("partitions", "detach", "--before", "2020-01")
    assert (0, True) == (nothing.code, "nothing to do" in nothing.out)


async def _rows(pool: Pool, query: str, *values: object) -> Sequence[tuple[Any, ...]]:
    async with pool.acquire() as connection:
        return [tuple(row) for row in await connection.fetch(query, *values)]
