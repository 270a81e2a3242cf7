"""`reftide doctor`: how the servers are set up, and what to change."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final

import click
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from ingest.contracts.stream import SHARDS_KEY
from scripts.checkup import Check, RedisFacts, check_clocks, check_postgres, check_redis
from scripts.environment import Environment
from scripts.output import emit, json_option, table
from scripts.queries import statements
from scripts.servers import postgres, redis_server, shard_count, single
from scripts.streams import read_shard

_SQL: Final = statements("doctor")
_COLUMNS: Final = ("level", "server", "check", "found", "advice")
_SETTINGS: Final = ("appendonly", "appendfsync", "maxmemory", "maxmemory-policy")


@click.command(
    epilog="""\b
wrong: events can be lost, or nothing works. warn: read the advice, then decide.
Exit code 1 where something is wrong; with --strict also where there is a warning.
"""
)
@click.option("--strict", is_flag=True, help="Warnings count as wrong.")
@json_option
@click.pass_context
def command(context: click.Context, *, strict: bool, as_json: bool) -> None:
    """Check versions, settings, tables and clocks of Redis and Postgres."""
    environment: Environment = context.obj
    checks = asyncio.run(_examine(environment))
    bad = {"wrong", "warn"} if strict else {"wrong"}
    ok = not any(check["level"] in bad for check in checks)
    emit(as_json, {"ok": ok, "checks": checks}, lambda: table(checks, _COLUMNS))
    if not ok:
        context.exit(1)


async def _examine(environment: Environment) -> Sequence[Mapping[str, Any]]:
    async with redis_server(environment) as redis, postgres(environment) as connection:
        in_redis = await _redis_facts(environment, redis)
        in_postgres = await single(connection, _SQL["facts"])
        seconds, micros = await redis.time()
        clocks = {
            "this machine": environment.clock(),
            "Redis": seconds + micros / 1e6,
            # Read a moment earlier: the difference is far below what is judged.
            "Postgres": in_postgres["clock"],
        }
    checks: list[Check] = [
        *check_redis(in_redis),
        *check_postgres(in_postgres),
        check_clocks(clocks),
    ]
    return [check.row() for check in checks]


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
