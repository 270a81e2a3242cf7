"""For how long edges know customers and short click ids, and how much room customers take."""

import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis.asyncio import Redis

from ingest.contracts.directory import (
    FORMER_GENERATION_KEY,
    click_key,
    customer_key,
    former_customer_key,
)
from ingest.contracts.envelope import Envelope
from ingest.contracts.marks import new_customer_key
from ingest.contracts.shares import HourlyShares
from tests.support.directory import (
    LAST_CLICK,
    LINKS,
    NOON_MS,
    WORKSPACE,
    a_click,
    a_lead,
    an_id,
)
from tests.support.servers.installation import Installation, elsewhere
from tests.support.workers.emails import published
from tests.support.workers.recording import record
from workers.jobs.cleanup import sweep_clicks
from workers.postgres.database import Pool
from workers.publish.publisher import publish_changes, publish_if_missing
from workers.publish.retention import Retention
from workers.redis_io.connections import for_jobs

DAY_MS = 24 * 3600 * 1000
WINDOW_DAYS = 60
#: Redis' clock goes on between an answer and the next question.
SLACK_MS = 30_000


class Directory:
    """The publisher, with a clock that stands, and what it published."""

    def __init__(self, pool: Pool, redis: Redis) -> None:
        self.pool = pool
        self.redis = redis

    async def publish(self, days: float = 0, *, anew: bool = False) -> None:
        """Publish so many days after noon what changed, or everything."""
        kept = Retention(clock=lambda: NOON_MS + int(days * DAY_MS))
        async with self.pool.acquire() as connection:
            if anew:
                await self.redis.flushdb()
                await publish_if_missing(connection, self.redis, kept)
            else:
                await publish_changes(connection, self.redis, kept)

    async def days_left(self, key: str) -> float | None:
        """For how long a key is kept, or None where there is none."""
        left_ms = await self.redis.pttl(key)
        assert left_ms != -1, f"{key} has no expiry"
        return None if left_ms < 0 else (left_ms + SLACK_MS) // 60_000 / (24 * 60)

    async def customer_left(self, name: str = "user") -> float | None:
        return await self.days_left(customer_key(WORKSPACE, name))


@pytest.fixture
async def directory(pool: Pool, redis_url: str) -> AsyncIterator[Directory]:
    async with for_jobs(redis_url) as redis:
        found = Directory(pool, redis)
        await found.publish()
        yield found


def keyed_lead(number: int, days: float = 0, **changes: object) -> Envelope:
    at = NOON_MS + int(days * DAY_MS)
    return a_lead(number, at=at, **changes)


def keyless_lead(number: int, **changes: object) -> Envelope:
    return a_lead(number, api_key_id=None, **changes)


# Customers -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "email", "avatar", "shown"),
    [
        (None, None, None, (None, None, None)),
        ("John Doe", "john.doe@example.com", "https://example.com/avatar.png", ...),
        # What does not fit is left out: e-mail addresses come first, then names.
        (
            "N" * 30,
            "e" * 38 + "@x.io",
            "https://example.com/avatar.png",
            (None, "e" * 38 + "@x.io", None),
        ),
        ("\u00e4" * 32, "a@x.io", None, (None, "a@x.io", None)),
        (
            "N" * 200,
            "e" * 200 + "@x.io",
            "https://example.com/" + "a" * 300,
            (None,) * 3,
        ),
    ],
)
async def test_a_customer_takes_at_most_200_bytes(
    directory: Directory,
    name: str | None,
    email: str | None,
    avatar: str | None,
    shown: tuple[str | None, ...],
) -> None:
    said = {"customer_name": name, "customer_email": email, "customer_avatar": avatar}
    external_id = "u" * 100
    lead = keyed_lead(
        2, click_id=an_id(1), link_id=LINKS[0], external_id=external_id, **said
    )
    await record(directory.pool, a_click(1), lead)
    await directory.publish()

    key = customer_key(WORKSPACE, external_id)
    assert 200 >= (await directory.redis.memory_usage(key) or 0) > 0
    found = await published(directory.pool, directory.redis, key)
    assert found is not None
    assert (an_id(1), LINKS[0], True) == (
        found.click_uuid,
        found.link_uuid,
        found.is_recorded,
    )
    wanted = (name, email, avatar) if shown is ... else shown
    assert wanted == (found.name, found.email, found.avatar)


async def test_a_customer_that_a_key_named_is_kept_for_400_days_without_use(
    directory: Directory,
) -> None:
    await record(directory.pool, keyed_lead(1))
    await directory.publish()
    # Noon of the first day, and the whole last one.
    assert 400.5 == await directory.customer_left()

    await record(directory.pool, keyed_lead(2, days=100), now=NOON_MS + 101 * DAY_MS)
    await directory.publish(days=100)
    assert 400.5 == await directory.customer_left()


async def test_a_customer_that_only_strangers_named_is_kept_for_the_window(
    directory: Directory,
) -> None:
    await directory.pool.execute(
        "update programs set attribution_window_days = 7 where id = $1", LAST_CLICK
    )
    by_click = {"click_id": an_id(1), "link_id": LINKS[0]}
    await record(directory.pool, a_click(1), keyless_lead(2, **by_click))
    await directory.publish()
    assert 7 == await directory.customer_left()

    await record(directory.pool, keyless_lead(3, external_id="organic"))
    await directory.publish()
    assert WINDOW_DAYS == await directory.customer_left("organic")


async def test_strangers_do_not_change_for_how_long_a_customer_is_kept(
    directory: Directory,
) -> None:
    await record(directory.pool, keyed_lead(1), keyless_lead(2, at=NOON_MS + DAY_MS))
    await directory.publish()
    assert 400.5 == await directory.customer_left()


async def test_a_directory_that_is_published_again_has_the_same_expiries(
    directory: Directory,
) -> None:
    await record(
        directory.pool,
        a_click(1, token="abcdefgh12345678"),
        keyed_lead(2),
        keyless_lead(3, external_id="organic"),
    )
    await directory.publish(days=10)
    click = click_key(WORKSPACE, "abcdefgh12345678")
    keys = [customer_key(WORKSPACE, name) for name in ("user", "organic")] + [click]
    left = [await directory.days_left(key) for key in keys]

    await directory.publish(days=10, anew=True)

    assert left == [await directory.days_left(key) for key in keys]
    assert [390.5, WINDOW_DAYS - 10, WINDOW_DAYS - 10] == left
    # Also where a month is detached: what a key vouched for outlives its row.
    await directory.pool.execute("delete from events")
    await directory.publish(days=61, anew=True)
    assert 339.5 == await directory.days_left(keys[0])
    assert [None, None] == [await directory.days_left(key) for key in keys[1:]]


async def test_while_redis_fills_strangers_get_shares_of_the_directory(
    directory: Directory,
) -> None:
    strangers = [
        keyless_lead(
            10 + number,
            click_id=an_id(number),
            link_id=LINKS[number % 2],
            external_id=f"s{number}",
        )
        for number in range(8)
    ]
    clicks = [a_click(number, link_id=LINKS[number % 2]) for number in range(8)]
    await record(directory.pool, *clicks, *strangers, keyed_lead(30))
    kept = Retention(clock=lambda: NOON_MS, shares=HourlyShares(8))
    used = int((await directory.redis.info("memory"))["used_memory"])
    await directory.redis.config_set("maxmemory", 2 * used)
    try:
        async with directory.pool.acquire() as connection:
            await publish_changes(connection, directory.redis, kept)
    finally:
        await directory.redis.config_set("maxmemory", 0)

    # A quarter for each of two links. A key's customer is published all the same.
    named = [await directory.customer_left(f"s{number}") for number in range(8)]
    assert 4 == len([left for left in named if left])
    assert await directory.customer_left() is not None


async def test_records_of_a_former_release_go_after_a_day(
    directory: Directory,
) -> None:
    former = former_customer_key(WORKSPACE, "user")
    await directory.redis.flushdb()
    await directory.redis.mset({FORMER_GENERATION_KEY: 1, former: b"{}"})
    async with directory.pool.acquire() as connection:
        await publish_if_missing(connection, directory.redis)

    assert 1 == await directory.days_left(FORMER_GENERATION_KEY)
    assert 1 == await directory.days_left(former)


# Short click ids -------------------------------------------------------------------------


async def test_short_click_ids_are_deleted_a_month_after_they_expired(
    directory: Directory,
) -> None:
    async def tokens() -> list[str]:
        rows = await directory.pool.fetch("select token from imported_clicks")
        return sorted(row[0] for row in rows)

    await record(directory.pool, a_click(1, token="short"), a_click(2, token="late"))
    await directory.pool.execute(
        "insert into imported_clicks (workspace_id, token, click_id, link_id)"
        " values ($1, 'another vendor''s', $2, $3)",
        WORKSPACE,
        an_id(9),
        LINKS[0],
    )
    await directory.pool.execute(
        "update imported_clicks set expires_at = now() - interval '29 days'"
        " where token = 'late'"
    )

    assert 1 == await sweep_clicks(directory.pool)
    assert ["another vendor's", "late"] == await tokens()


# Answers ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("months", "is_known"), [(13, True), (14, False)])
async def test_a_sale_a_year_after_the_lead_has_its_customer_and_a_forgotten_one_is_recorded(
    site: Installation, months: int, *, is_known: bool
) -> None:
    async def track(what: str, **body: object) -> Any:
        answer = await site.edges[0].post(
            f"/track/{what}", json=body, headers=headers[what]
        )
        assert 200 == answer.status
        return await answer.json()

    key = {"Authorization": "Bearer YOUR_API_KEY"}
    headers = {"click": elsewhere(), "lead": key, "sale": key}
    customer = {"customerExternalId": "buyer", "customerName": "Ada"}
    click = await track("click", domain="go.yoursite.com", key="alice")
    await track("lead", clickId=click["clickId"], eventName="Sign up", **customer)
    site.start_worker()
    await site.rests()
    site.stop_workers()
    workspace = await site.database.fetchval("select workspace_id from customers")

    # The publisher's clock says how long ago that was; marks last for a day.
    later = Retention(
        clock=lambda: time.time_ns() // 1_000_000 + int(months * 30.5 * DAY_MS)
    )
    await site.database.execute(
        "insert into directory_changes (topic, ref) values ('customer', $1)",
        f"{workspace} buyer",
    )
    while await publish_changes(site.database, site.redis, later):
        pass
    await site.redis.delete(new_customer_key(workspace, "buyer"))
    sold = await track("sale", customerExternalId="buyer", amount=4999)
    site.start_worker()
    await site.rests()

    assert is_known == (sold["customer"] is not None)
    assert [("Ada", True)] == await site.rows(
        "select customers.name, attributed_id is not null from events"
        " join customers on customers.id = customer_id where kind = 'sale'"
    )
