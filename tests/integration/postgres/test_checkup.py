"""What the checks say of real servers whose settings were changed."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest
from aiohttp.test_utils import TestServer
from redis.asyncio import Redis
from structlog.testing import capture_logs

from ingest.app import Externals, build
from ingest.contracts.checkups.checkup import Check
from ingest.contracts.checkups.redis_checkup import check_redis
from ingest.contracts.placement.layout import Layout
from ingest.contracts.stream import GROUP, SHARDS_KEY, events_key
from ingest.settings import EdgeSettings
from ingest.startup_check import ask_redis, free_bytes
from tests.conftest import Servers
from tests.support.eventually import eventually
from tests.support.servers.cli import Cli
from tests.support.servers.valkey import Valkey, running_valkey
from workers.postgres.database import open_pool
from workers.process.startup_check import examine, keep_checking
from workers.redis_io.connections import for_jobs
from workers.settings import Settings as WorkerSettings

Run = Callable[[str], None]


@pytest.fixture
def valkey() -> Iterator[Valkey]:
    with running_valkey("everysec") as server:
        yield server


@pytest.fixture
async def redis(valkey: Valkey) -> AsyncIterator[Redis]:
    async with Redis.from_url(valkey.url) as client:
        yield client


def _levels(checks: Sequence[Check]) -> dict[str, str]:
    return {one.check: one.level for one in checks if one.level != "ok"}


async def _of_redis(redis: Redis, groups: int = 0) -> dict[str, str]:
    return _levels(
        [*check_redis(await ask_redis(redis, Layout.at_home(2), range(groups)))]
    )


# Redis -------------------------------------------------------------------------------


async def test_a_new_server_lacks_shards_and_a_limit(redis: Redis) -> None:
    expected = {"appendfsync": "warn", "maxmemory": "warn", "shards": "warn"}

    assert expected == await _of_redis(redis)


@pytest.mark.parametrize(
    ("setting", "value", "check", "level"),
    [
        ("appendonly", "no", "appendonly", "wrong"),
        ("appendfsync", "no", "appendfsync", "wrong"),
        ("maxmemory-policy", "allkeys-lru", "maxmemory-policy", "wrong"),
        ("no-appendfsync-on-rewrite", "yes", "no-appendfsync-on-rewrite", "warn"),
    ],
)
async def test_a_changed_setting_is_found(
    redis: Redis, setting: str, value: str, check: str, level: str
) -> None:
    await redis.config_set(setting, value)

    assert level == (await _of_redis(redis))[check]


async def test_a_good_setting_is_no_finding(redis: Redis) -> None:
    await redis.config_set("appendfsync", "always")
    await redis.config_set("maxmemory", "1gb")
    await redis.set(SHARDS_KEY, 2)
    for shard in range(2):
        await redis.xgroup_create(events_key(shard), GROUP, "0", mkstream=True)

    assert {} == await _of_redis(redis, groups=2)


async def test_a_memory_that_fills_up_is_found(redis: Redis) -> None:
    used = (await redis.info("memory"))["used_memory"]
    await redis.config_set("maxmemory", int(used / 0.85))
    assert "warn" == (await _of_redis(redis))["memory"]

    await redis.config_set("maxmemory", used)
    assert "wrong" == (await _of_redis(redis))["memory"]


async def test_other_shards_and_missing_groups_are_found(redis: Redis) -> None:
    await redis.set(SHARDS_KEY, 3)
    await redis.xgroup_create(events_key(0), GROUP, "0", mkstream=True)

    checks = [*check_redis(await ask_redis(redis, Layout.at_home(2), range(3)))]

    found = {one.check: one.found for one in checks}
    assert ("3, but 2 wanted", "none on shard 1, 2") == (
        found["shards"],
        found["groups"],
    )


async def test_a_replica_is_no_place_for_events(redis: Redis) -> None:
    await redis.replicaof("127.0.0.1", "1")

    assert "wrong" == (await _of_redis(redis))["role"]


async def test_what_may_not_be_asked_is_read_elsewhere(
    redis: Redis, valkey: Valkey
) -> None:
    await redis.execute_command(
        "ACL", "SETUSER", "app", "on", "nopass", "~*", "&*", "+@all", "-config"
    )
    await redis.config_set("maxmemory-policy", "allkeys-lru")
    async with Redis.from_url(valkey.url, username="app", password="any") as app:
        checks = [*check_redis(await ask_redis(app, Layout.at_home(2)))]

    found = {one.check: (one.level, one.found) for one in checks}
    assert ("warn", "not readable") == found["appendfsync"]
    assert ("wrong", "allkeys-lru") == found["maxmemory-policy"]
    assert ("ok", "yes") == found["appendonly"]


# Postgres ----------------------------------------------------------------------------


@pytest.fixture
def run(servers: Servers, database_url: str) -> Run:
    """Runs a statement in the test's own database; %s is its name."""
    name = urlsplit(database_url).path.removeprefix("/")

    def execute(statement: str) -> None:
        servers.execute(statement.replace("%s", f'"{name}"'), name)

    return execute


def _settings(redis_url: str, database_url: str, **more: str) -> WorkerSettings:
    return WorkerSettings.load(
        {"REDIS_URL": redis_url, "DATABASE_URL": database_url, **more}
    )


async def _of_worker(
    redis_url: str, database_url: str, *, now: int | None = None, **more: str
) -> list[Check]:
    redis = for_jobs(redis_url)
    settings = _settings(redis_url, database_url, **more)
    seconds, micros = await redis.time()
    here = seconds * 1000 + micros // 1000 if now is None else now
    try:
        async with open_pool(database_url, size=2) as pool:
            return [*await examine(pool, redis, settings, lambda: here)]
    finally:
        await redis.aclose()


async def test_the_tests_database_is_not_durable_and_that_is_found(
    redis_url: str, database_url: str
) -> None:
    connection = await asyncpg.connect(database_url)
    fsync = await connection.fetchval("select current_setting('fsync')")
    await connection.close()

    levels = _levels(await _of_worker(redis_url, database_url))

    assert (fsync == "off") == ("fsync" in levels)
    assert {} == {
        check: level
        for check, level in levels.items()
        if check not in {"fsync", "full_page_writes", "synchronous_commit"}
    }


@pytest.mark.parametrize(
    ("statement", "check"),
    [
        ("alter database %s set default_transaction_read_only = on",
         "default_transaction_read_only"),
        ("drop table directory_changes", "schema"),
        ("drop table events cascade", "partitions"),
    ],
)  # fmt: skip
async def test_a_database_that_takes_no_events_is_found(
    run: Run, redis_url: str, database_url: str, statement: str, check: str
) -> None:
    await asyncio.to_thread(run, statement)

    assert "wrong" == _levels(await _of_worker(redis_url, database_url))[check]


async def test_a_geo_file_that_is_no_geo_file_is_found(
    redis_url: str, database_url: str, tmp_path: Path
) -> None:
    file = tmp_path / "geo.mmdb"
    file.write_bytes(b"junk")

    checks = await _of_worker(redis_url, database_url, REFTIDE_GEO_FILE=str(file))

    assert "warn" == _levels(checks)["geo file"]


async def test_a_clock_that_is_off_is_found(redis_url: str, database_url: str) -> None:
    checks = await _of_worker(redis_url, database_url, now=1_000_000)

    assert "wrong" == _levels(checks)["skew"]


# At the start ------------------------------------------------------------------------


async def test_an_edge_says_at_the_start_what_is_wrong_with_redis(
    valkey: Valkey, redis: Redis, tmp_path: Path
) -> None:
    await redis.config_set("maxmemory-policy", "allkeys-lru")
    given = {
        "REDIS_URL": valkey.url,
        "REFTIDE_SECRET": "sixteen letters.",
        "REFTIDE_DATA": str(tmp_path / "not there yet"),
    }
    app = build(EdgeSettings.load(given), Externals(dialects=()))

    with capture_logs() as lines:
        async with TestServer(app):
            await eventually(lambda: _said(lines, "maxmemory-policy"))

    findings = [line for line in lines if line["event"] == "checkup.finding"]
    levels = {line["check"]: line["log_level"] for line in findings}
    assert ("warning", "info") == (levels["maxmemory-policy"], levels["secret"])
    assert "shards" not in levels


async def test_a_worker_waits_with_its_check_until_servers_answer(
    valkey: Valkey, database_url: str
) -> None:
    client, stop = for_jobs(valkey.url), asyncio.Event()
    settings = _settings(valkey.url, database_url)
    with capture_logs() as lines:
        async with open_pool(database_url, size=2) as pool:
            valkey.kill()
            checking = asyncio.create_task(
                keep_checking(pool, client, settings, lambda: 1_000_000, stop)
            )
            await asyncio.sleep(0)
            valkey.start()
            await eventually(lambda: _said(lines, "skew"))
            await checking
    await client.aclose()

    (line,) = (line for line in lines if line.get("check") == "skew")
    assert ("wrong", "warning") == (line["level"], line["log_level"])


async def _said(lines: Sequence[object], check: str) -> bool:
    return any(check in str(line) for line in lines)


# The command -------------------------------------------------------------------------


def _found(cli: Cli) -> dict[str, str]:
    checks = cli.run("doctor", "--json").document["checks"]
    return {one["check"]: one["level"] for one in checks if one["level"] != "ok"}


@pytest.mark.parametrize(
    "statement",
    [
        "alter table programs drop column has_stats",
        "drop index events_visited",
        "drop function uuid7_floor(timestamptz) cascade",
        "alter function link_changed() rename to link_changed_before",
        "drop table awards",
    ],
)
def test_an_older_schema_is_found(cli: Cli, run: Run, statement: str) -> None:
    assert "schema version" not in _found(cli)

    run(statement)

    assert "wrong" == _found(cli)["schema version"]


def test_a_database_that_may_forget_commits_is_wrong(cli: Cli, run: Run) -> None:
    run("alter database %s set synchronous_commit = off")

    found = _found(cli)

    assert "wrong" == found["synchronous_commit"]
    assert "session" not in found  # workers ask for it themselves


def test_a_short_secret_is_a_warning_and_none_given_is_one(cli: Cli) -> None:
    assert "secret" not in _found(cli)
    for secret in ("sixteen letters.", ""):
        variables = {**cli.variables, "REFTIDE_SECRET": secret}
        assert "warn" == _found(Cli(variables))["secret"]


def test_a_spool_that_may_outgrow_its_disk_is_a_warning(
    cli: Cli, tmp_path: Path
) -> None:
    free = shutil.disk_usage(tmp_path).free
    given = {"REFTIDE_DATA": str(tmp_path), "REFTIDE_SPOOL_BYTES": str(2 * free)}

    assert "warn" == _found(Cli({**cli.variables, **given}))["space"]


def test_space_is_looked_up_where_a_folder_will_be(tmp_path: Path) -> None:
    assert free_bytes(tmp_path / "a" / "b") > 0
