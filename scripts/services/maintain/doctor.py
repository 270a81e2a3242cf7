"""What `reftide doctor` checks: both servers, the schema, clocks and this machine."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Final

from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from ingest.contracts.checkups.checkup import CLOCKS, DISK, EDGE, Check
from ingest.contracts.checkups.redis_checkup import (
    UNREADABLE,
    RedisFacts,
    check_redis,
)
from ingest.contracts.checkups.rights import RIGHTS, at_streams
from ingest.contracts.checkups.rights import WORKER as WORKER_RIGHTS
from ingest.contracts.placement.streams_url import misplaced
from ingest.contracts.stream import PLACE_KEY
from ingest.contracts.variables import SettingsError, Variables
from ingest.redis_io.client import REDIS_ERRORS, describe_error, is_refused
from ingest.redis_io.rights import ask_rights
from ingest.settings import Spooling
from ingest.startup_check import ask_redis, free_bytes
from scripts.environment import Environment
from scripts.errors import Unreachable
from scripts.servers import (
    beside,
    postgres,
    redis_server,
    rows,
    shard_layout,
    single,
)
from scripts.services.maintain.edges import standing, untrusted_forwarders
from scripts.services.maintain.schema import schema_text
from workers.postgres import sql
from workers.postgres.checkup import SESSION, WORKER, Sharing, check_postgres
from workers.postgres.database import SERVER_SETTINGS, pool_size
from workers.postgres.schema import check_schema
from workers.process.startup_check import geo_problem
from workers.redis_io.streams import StreamServer, nodes_of, servers_of
from workers.stream.liveness import live_workers

_SQL: Final = sql.statements("postgres/checkup")

_SERVER_SECONDS: Final = 2.0

#: The check of a server that does not answer; there is no other of it then.
REACH: Final = "reach"


async def examine(environment: Environment) -> list[Check]:
    """Check both servers and this machine. Raises Unreachable where no server is named."""
    # Where there is no server to ask, or a variable is wrong, these raise.
    environment.redis_url()
    environment.database_url()
    shards, workers = len(environment.layout().numbers), 0
    checks: list[Check] = []
    ahead = {"this machine": 0.0}
    try:
        found, shards, workers, clocks = await _redis(environment)
        checks += found
        ahead |= clocks
    except Unreachable as error:
        checks.append(_out_of_reach("Redis", error))
    try:
        each = pool_size(shards)
        found, ahead["Postgres"] = await _postgres(environment, max(1, workers), each)
        checks += found
    except Unreachable as error:
        checks.append(_out_of_reach("Postgres", error))
    return [*checks, *CLOCKS.judge({"skew": ahead}), *_machine(environment)]


async def _redis(
    environment: Environment,
) -> tuple[Sequence[Check], int, int, Mapping[str, float]]:
    """What is found; the shards, the workers alive, and how far clocks are ahead."""
    async with redis_server(environment) as redis:
        layout = await shard_layout(environment, redis)
        servers = servers_of(redis, layout.numbers)
        at_home = [each for each in servers if each.client is redis]
        facts = await ask_redis(
            redis, environment.layout(), layout.numbers if at_home else ()
        )
        if at_home:
            facts = await _with_replicas(environment, redis, facts)
        ahead = {"Redis": facts.clock - environment.clock()}
        workers = await live_workers(redis)
        proxies = untrusted_forwarders(await standing(redis))
        refused = await ask_rights(redis, WORKER_RIGHTS)
        checks = [
            *check_redis(facts),
            *RIGHTS.judge({"rights": refused}),
            *EDGE.judge({"proxies": proxies}),
        ]
        for name, found, skew in (
            [] if at_home else await _stream_servers(environment, servers)
        ):
            ahead[name] = skew
            checks += found
    return checks, len(layout.numbers), len(workers), ahead


async def _stream_servers(
    environment: Environment, servers: Sequence[StreamServer]
) -> Sequence[tuple[str, Sequence[Check], float]]:
    """By server of the streams: what is found there, and how far its clock is ahead."""
    with suppress(RedisConnectionError):  # a shard that no node has is asked for itself
        servers = await nodes_of(servers)
    # At once: what is frozen takes its time to be given up.
    async with asyncio.TaskGroup() as group:
        asked = [
            group.create_task(_stream_server(environment, each)) for each in servers
        ]
    return [
        (server.name, *task.result())
        for server, task in zip(servers, asked, strict=True)
    ]


async def _stream_server(
    environment: Environment, server: StreamServer
) -> tuple[Sequence[Check], float]:
    try:
        async with asyncio.timeout(_SERVER_SECONDS):
            facts = await ask_redis(
                server.client, environment.layout(), server.shards, is_home=False
            )
            facts = await _with_replicas(environment, server.client, facts)
            placed = await _place(server)
            wanted = at_streams(WORKER_RIGHTS, is_listed=server.place is not None)
            refused = await ask_rights(server.client, wanted)
    except (*REDIS_ERRORS, TimeoutError) as error:
        problem = describe_error(error)
        numbers = ", ".join(map(str, server.shards))
        advice = (
            "correct its password in STREAMS_URL, or the rights of its user:"
            " scripts/deploy/redis.acl"
            if is_refused(error)
            else "check that it runs and that STREAMS_URL is right"
        )
        if seen := await _last_seen(environment, server.shards):
            problem = f"{problem}; workers last saw its streams at {seen}"
        advice = f"it has shards {numbers}, whose events go to others: {advice}"
        return [Check(server.name, REACH, "wrong", problem, advice)], 0.0
    found = [
        replace(each, server=server.name)
        for each in [*check_redis(facts), *RIGHTS.judge({"rights": refused})]
        if each.check != "shards"
    ]
    return [*found, *placed], facts.clock - environment.clock()


async def _last_seen(environment: Environment, shards: Sequence[int]) -> str | None:
    """When workers last saw these shards; None where nobody knows."""
    with suppress(Unreachable):
        async with postgres(environment) as connection:
            at = await connection.fetchval(_SQL["streams_seen"], [*shards])
            return at and f"{at:%Y-%m-%d %H:%M:%S UTC}"
    return None


async def _place(server: StreamServer) -> Sequence[Check]:
    """Whether a server of a list is to others which it is here."""
    if server.place is None:
        return []
    known, wanted = await server.client.get(PLACE_KEY), server.place
    if known in {None, wanted}:
        return [Check(server.name, "place", "ok", wanted.decode(), "")]
    said = f"{known.decode('utf-8', 'replace')}, but {wanted.decode()} here"
    return [Check(server.name, "place", "wrong", said, misplaced(known, wanted))]


async def _with_replicas(
    environment: Environment, redis: Redis, facts: RedisFacts
) -> RedisFacts:
    wanted = environment.replicas()
    files = await _replica_files(redis, facts) if wanted.is_synced else None
    return replace(facts, replicas=wanted, replica_files=files)


async def _replica_files(
    redis: Redis, facts: RedisFacts
) -> Mapping[str, tuple[str, str]]:
    """What each replica's `appendonly` and `appendfsync` are."""
    return {
        f"{host}:{port}": await _append_only(beside(redis, host, port))
        for host, port in facts.connected
    }


async def _append_only(replica: Redis) -> tuple[str, str]:
    try:
        async with replica:
            info = await replica.info("persistence")
            only = "yes" if info["aof_enabled"] else "no"
            try:
                told = await replica.config_get("appendfsync")
            except ResponseError:
                return only, UNREADABLE
            return only, told["appendfsync"]
    except REDIS_ERRORS as error:
        return describe_error(error), UNREADABLE


async def _postgres(
    environment: Environment, workers: int, each: int
) -> tuple[Sequence[Check], float]:
    """What is found, and how far its clock is ahead."""
    # As any program connects, and then as workers do: a pooler may drop what they ask.
    async with postgres(environment) as connection:
        facts = await single(connection, _SQL["facts"])
        ahead = facts["clock"] - environment.clock()
        catalog = await rows(connection, _SQL["catalog"])
        async with postgres(environment) as other:
            # Two clients that are one session: a pooler of transactions.
            backends = {
                await each.fetchval(_SQL["backend"]) for each in (connection, other)
            }
    sharing = Sharing(len(backends) == 1, environment.is_pooled())
    async with postgres(environment, settings=SERVER_SETTINGS) as connection:
        found = await rows(connection, _SQL["session"], list(SESSION))
    session = {row["name"]: row["setting"] for row in found}
    checks = check_postgres(facts, workers, each, session, sharing)
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


def _out_of_reach(server: str, error: Unreachable) -> Check:
    advice = f"{error.what} {error.remedy}"
    return Check(server, REACH, "wrong", "cannot be reached", advice)
