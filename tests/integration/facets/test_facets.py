"""Facets: sums of what is alike, made anew when rows of their bucket change."""

import asyncio
from typing import Any

from tests.support.directory import (
    LINKS,
    NOON_MS,
    WORKSPACE,
    a_click,
    a_lead,
    a_refund,
    a_sale,
    miscounted,
    sale_key,
)
from tests.support.workers.facets import make, wrong_facets
from tests.support.workers.recording import LATER_MS, record, rows_of, value_of
from workers.facets.facets import make_next, mark_recent
from workers.postgres.database import Pool, transaction

_DAY_MS = 24 * 3600 * 1000


async def _values(pool: Pool, facet: str, *, is_test: bool = False) -> dict[str, Any]:
    found = await rows_of(
        pool,
        "select value, sum(clicks + leads)::int from facets"
        " where facet = $1 and is_test = $2 and workspace_id = $3 and link_id is null"
        " group by value",
        facet,
        is_test,
        WORKSPACE,
    )
    return dict(found)


async def test_each_link_and_each_workspace_has_the_sums_of_its_values(
    pool: Pool,
) -> None:
    click = a_click(1, user_agent="curl/8.0")
    await record(
        pool,
        click,
        a_click(2, link_id=LINKS[1], at=NOON_MS - _DAY_MS),
        a_click(3, is_test=True),
        a_lead(4, at=NOON_MS + 1, click_id=click.id),
        a_sale(5, at=NOON_MS + 2, sale_key=sale_key("invoice")),
        a_refund(6, at=NOON_MS + 3),
        now=LATER_MS,
    )

    await make(pool)

    assert [] == await wrong_facets(pool)
    assert {"": 2, "bot": 1} == await _values(pool, "device")
    assert {"": 1} == await _values(pool, "device", is_test=True)
    assert [] == await miscounted(pool)


async def test_of_very_many_values_the_rare_ones_are_one(pool: Pool) -> None:
    events = [
        a_click(number, referrer=f"https://site{number % 110}.example/")
        for number in range(1, 221 + 30)
    ]
    await record(pool, *events)

    await make(pool)

    values = await _values(pool, "referrer")
    assert 101 == len(values)
    assert 250 == sum(values.values())
    assert 20 == values["(other)"]
    assert [] == await miscounted(pool)


async def test_what_comes_while_a_bucket_is_made_lets_it_be_made_again(
    pool: Pool,
) -> None:
    await record(pool, a_click(1))
    async with pool.acquire() as other, other.transaction():
        await other.execute(
            "insert into dirty (bucket) select bucket from dirty limit 1"
        )
        # The other's mark, like its rows, is not to be seen yet.
        assert await make_next(pool)
        assert not await make_next(pool)

    await pool.execute("update facets_rest set until = now()")
    assert await make_next(pool)
    await pool.execute("update facets_rest set until = now()")
    assert not await make_next(pool)


async def test_between_buckets_there_is_a_rest_four_times_as_long(pool: Pool) -> None:
    await record(pool, a_click(1))
    await pool.execute("insert into dirty (bucket) values ('2025-01-01')")

    assert await make_next(pool)

    [(rest,)] = await rows_of(
        pool, "select extract(epoch from until - now()) > -60 from facets_rest"
    )
    assert rest
    await pool.execute("update facets_rest set until = now() + interval '1 hour'")
    assert not await make_next(pool)


async def test_one_worker_makes_facets_and_the_others_do_not_wait(pool: Pool) -> None:
    await record(pool, a_click(1))
    async with transaction(pool) as other:
        await other.execute("select pg_advisory_xact_lock(hashtext('reftide facets'))")
        async with asyncio.timeout(10):
            assert not await make_next(pool)
    assert await make_next(pool)


async def test_writers_mark_one_bucket_at_the_same_time(pool: Pool) -> None:
    async with transaction(pool) as other:
        await other.execute("insert into dirty (bucket) values ('2025-03-10')")
        async with asyncio.timeout(10):
            await record(pool, a_click(1))
    assert [(2,)] == await rows_of(pool, "select count(*)::int from dirty")


async def test_what_a_former_release_recorded_is_in_the_facets_within_an_hour(
    pool: Pool,
) -> None:
    at = 1000 * int(
        str(await value_of(pool, "select extract(epoch from now())::bigint"))
    )
    await pool.execute("select make_partition(now())")
    await record(pool, a_click(1, at=at), now=at)
    await pool.execute("delete from dirty")

    await mark_recent(pool)

    await make(pool)
    assert [] == await wrong_facets(pool)
    assert {"": 1} == await _values(pool, "device")


async def test_verify_finds_a_facet_that_lacks_or_says_too_much(pool: Pool) -> None:
    await record(pool, a_click(1))
    await make(pool)
    await pool.execute("update facets set clicks = clicks + 1 where facet = 'country'")
    await pool.execute("delete from facets where facet = 'browser'")

    wrong = await miscounted(pool)

    names = {(row["key"].split()[0], row["counter"], row["found"]) for row in wrong}
    assert ("country", "clicks", 2) in names
    assert ("browser", "clicks", 0) in names
    assert {"facet"} == {row["what"] for row in wrong}
