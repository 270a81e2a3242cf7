"""`reftide doctor`: how the servers are set up, and what to change."""

import asyncio
from typing import Final

import click
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from ingest.contracts.stream import SHARDS_KEY
from scripts.checkup import (
    REACH,
    Check,
    RedisFacts,
    check_clocks,
    check_postgres,
    check_redis,
    out_of_reach,
)
from scripts.environment import Environment
from scripts.output import Unreachable, emit, json_option, table
from scripts.queries import statements
from scripts.servers import postgres, redis_server, shard_count, single
from scripts.streams import read_shard

_SQL: Final = statements("doctor")
_COLUMNS: Final = ("level", "server", "check", "found", "advice")
_SETTINGS: Final = ("appendonly", "appendfsync", "maxmemory", "maxmemory-policy")


@click.command(
    epilog="""\b
wrong: events can be lost, or nothing works. warn: read the advice, then decide.
Exit code 1 where something is wrong; with --strict also where there is a warning;
3 where a server cannot be reached: the other one is checked nonetheless.
"""
)
@click.option("--strict", is_flag=True, help="Warnings count as wrong.")
@json_option
@click.pass_context
def command(context: click.Context, *, strict: bool, as_json: bool) -> None:
    """Check versions, settings, tables and clocks of Redis and Postgres."""
    environment: Environment = context.obj
    found = asyncio.run(_examine(environment))
    checks = [check.row() for check in found]
    bad = {"wrong", "warn"} if strict else {"wrong"}
    ok = not any(check.level in bad for check in found)
    emit(as_json, {"ok": ok, "checks": checks}, lambda: table(checks, _COLUMNS))
    if any(check.check == REACH for check in found):
        context.exit(Unreachable.exit_code)
    if not ok:
        context.exit(1)


async def _examine(environment: Environment) -> list[Check]:
    # Where there is no server to ask, or a variable is wrong, these raise.
    environment.redis_url()
    environment.database_url()
    environment.shards()
    checks: list[Check] = []
    ahead = {"this machine": 0.0}
    for server, examine in (("Redis", _redis), ("Postgres", _postgres)):
        try:
            found, clock = await examine(environment)
        except Unreachable as error:
            checks.append(out_of_reach(server, error.what, error.remedy))
        else:
            checks += found
            ahead[server] = clock - environment.clock()
    return [*checks, check_clocks(ahead)]


async def _redis(environment: Environment) -> tuple[list[Check], float]:
    """What is found, and the server's clock."""
    async with redis_server(environment) as redis:
        facts = await _redis_facts(environment, redis)
        seconds, micros = await redis.time()
    return [*check_redis(facts)], seconds + micros / 1e6


async def _postgres(environment: Environment) -> tuple[list[Check], float]:
    """What is found, and the server's clock."""
    async with postgres(environment) as connection:
        facts = await single(connection, _SQL["facts"])
    return [*check_postgres(facts)], facts["clock"]


async def _redis_facts(environment: Environment, redis: Redis) -> RedisFacts:
    stored = await redis.get(SHARDS_KEY)
    count = await shard_count(environment, redis)
    shards = [await read_shard(redis, number) for number in range(count)]
    return RedisFacts(
        server=await redis.info("server"),
        settings=await _settings(redis),
        shards_stored=None if stored is None else int(stored),
        shards_wanted=environment.shards(),
        without_group=tuple(one.shard for one in shards if not one.has_group),
    )


async def _settings(redis: Redis) -> dict[str, str] | None:
    """None where a managed server keeps its settings to itself."""
    try:
        found = await redis.config_get(*_SETTINGS)  # type: ignore[arg-type]  # strings do
    except ResponseError:
        return None
    return {_text(name): _text(value) for name, value in found.items()}


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
