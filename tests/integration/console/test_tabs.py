"""Many tabs cost the servers what one costs."""

import asyncio
import time
from typing import NamedTuple

from redis.asyncio import Redis

from tests.support.console.desk import Desk, add_user, opened
from tests.support.servers.cli import Cli

_SECONDS = 6.0
_EVERY_SECONDS = 2.0
_LIVE = ("overview", "streams")


class Work(NamedTuple):
    """What the servers did: Redis commands, and transactions of PostgreSQL."""

    commands: int
    transactions: int


async def _work(cli: Cli) -> Work:
    async with Redis.from_url(cli.variables["REDIS_URL"]) as redis:
        commands = (await redis.info("stats"))["total_commands_processed"]
    [row] = await asyncio.to_thread(
        cli.fetch,
        "select pg_stat_force_next_flush(), xact_commit + xact_rollback as n"
        " from pg_stat_database where datname = current_database()",
    )
    return Work(commands, row["n"])


async def _look(desk: Desk, page: str, until: float) -> None:
    """What the script of an open tab sends."""
    known = ""
    while time.monotonic() < until:
        seen = await desk.get(f"{page}?part=live", If_None_Match=known)
        assert seen.status in {200, 304}
        known = seen.headers.get("ETag", known)
        await asyncio.sleep(_EVERY_SECONDS)


async def _cost(shop: Cli, desk: Desk, tabs: int) -> Work:
    before, until = await _work(shop), time.monotonic() + _SECONDS
    async with asyncio.TaskGroup() as group:
        for number in range(tabs):
            page = _LIVE[number % len(_LIVE)]
            group.create_task(_look(desk, page, until))
    after = await _work(shop)
    return Work(*(late - early for early, late in zip(before, after, strict=True)))


async def test_twenty_tabs_cost_the_servers_what_one_of_each_page_costs(
    shop: Cli,
) -> None:
    await add_user(shop, "jane", "--role", "operator")
    clock = time.time  # noqa: TID251 -- that of the installation
    async with opened(shop, clock=clock) as desk:
        await desk.sign_in("jane")
        few = await _cost(shop, desk, len(_LIVE))
        many = await _cost(shop, desk, 20)

    # Ten times as many tabs; each that asked by itself would show.
    assert many.commands < 2 * few.commands
    assert many.transactions < 2 * few.transactions
