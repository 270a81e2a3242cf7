"""`reftide doctor`: how the servers are set up, and what to change."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import click

from ingest.contracts.checkup import CLOCKS, DISK, EDGE, Check
from ingest.contracts.redis_checkup import check_redis
from ingest.contracts.variables import SettingsError, Variables
from ingest.settings import Spooling
from ingest.startup_check import ask_redis, free_bytes
from scripts.environment import Environment
from scripts.errors import Unreachable
from scripts.output import emit, json_option, table
from scripts.servers import postgres, redis_server, rows, shard_count, single
from scripts.services.maintain.schema import schema_text
from scripts.services.maintain.schema_check import REACH, check_schema, out_of_reach
from scripts.sql import statements
from workers.postgres import sql
from workers.postgres.checkup import SESSION, WORKER, check_postgres
from workers.postgres.database import SERVER_SETTINGS, pool_size
from workers.process.startup_check import geo_problem
from workers.stream.liveness import live_workers

_CATALOG: Final = statements("services/maintain/doctor")["catalog"]
_SQL: Final = sql.statements("postgres/checkup")
_COLUMNS: Final = ("level", "server", "check", "found", "advice")


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
    """Check versions, settings, tables, clocks and disks that Reftide relies on."""
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
    shards, workers = environment.shards(), 0
    checks: list[Check] = []
    ahead = {"this machine": 0.0}
    try:
        found, shards, workers, ahead["Redis"] = await _redis(environment)
        checks += found
    except Unreachable as error:
        checks.append(out_of_reach("Redis", error.what, error.remedy))
    try:
        each = pool_size(shards)
        found, ahead["Postgres"] = await _postgres(environment, max(1, workers), each)
        checks += found
    except Unreachable as error:
        checks.append(out_of_reach("Postgres", error.what, error.remedy))
    return [*checks, *CLOCKS.judge({"skew": ahead}), *_machine(environment)]


async def _redis(
    environment: Environment,
) -> tuple[Sequence[Check], int, int, float]:
    """What is found; the shards, the workers alive, and how far its clock is ahead."""
    async with redis_server(environment) as redis:
        shards = await shard_count(environment, redis)
        facts = await ask_redis(redis, environment.shards(), groups=shards)
        ahead = facts.clock - environment.clock()
        workers = await live_workers(redis)
    return [*check_redis(facts)], shards, len(workers), ahead


async def _postgres(
    environment: Environment, workers: int, each: int
) -> tuple[Sequence[Check], float]:
    """What is found, and how far its clock is ahead."""
    # As any program connects, and then as workers do: a pooler may drop what they ask.
    async with postgres(environment) as connection:
        facts = await single(connection, _SQL["facts"])
        ahead = facts["clock"] - environment.clock()
        catalog = await rows(connection, _CATALOG)
    async with postgres(environment, settings=SERVER_SETTINGS) as connection:
        found = await rows(connection, _SQL["session"], list(SESSION))
    session = {row["name"]: row["setting"] for row in found}
    checks = check_postgres(facts, workers, each, session)
    return [*checks, check_schema(schema_text(), catalog)], ahead


def _machine(environment: Environment) -> list[Check]:
    """What this machine, and the variables given here, can be judged by."""
    given = Variables(environment.variables)
    try:
        secret = len(environment.secrets()[0])
    except Unreachable:
        secret = len(given.text("REFTIDE_SECRET"))
    geo = given.text("REFTIDE_GEO_FILE")
    file = Path(geo) if geo else None
    try:
        space = free_bytes(environment.data), Spooling.load(given).most_bytes
        disk = [*DISK.judge({"space": space})]
    except (OSError, SettingsError) as error:
        advice = "set REFTIDE_DATA and the REFTIDE_SPOOL_ variables right"
        disk = [Check("disk", "space", "wrong", str(error), advice)]
    return [
        *EDGE.judge({"secret": secret}),
        *WORKER.judge({"geo file": (file, geo_problem(file))}),
        *disk,
    ]
