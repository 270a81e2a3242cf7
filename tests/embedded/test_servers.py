"""What the embedded servers promise while they run and over restarts."""

import asyncio
import os
import stat
from pathlib import Path

import asyncpg
import pytest
from arq.connections import RedisSettings, create_pool

from scripts.embedded import Embedded
from scripts.embedded.instance import Instance
from scripts.embedded.server import Options
from tests.support.servers.embedded import running


async def write(connection, redis):
    await connection.execute("CREATE TABLE IF NOT EXISTS kept (n int)")
    await connection.execute("INSERT INTO kept VALUES (1)")
    await redis.xadd("kept", {"n": 1})
    return await read(connection, redis)


async def read(connection, redis):
    rows = await connection.fetchval("SELECT count(*) FROM kept")
    return rows, await redis.xlen("kept")


def test_data_survives_a_restart(tmp_path, ask):
    with running(tmp_path / "data") as embedded:
        ask(embedded, write)

    with running(tmp_path / "data") as embedded:
        assert (1, 1) == ask(embedded, read)


def test_valkey_logs_every_write_and_evicts_nothing(tmp_path, ask):
    async def settings(_, redis):
        return {
            **await redis.config_get("append*"),
            **await redis.config_get("maxmemory-policy"),
            **await redis.config_get("port"),
            **await redis.config_get("save"),
        }

    with running(tmp_path / "data") as embedded:
        found = ask(embedded, settings)

    assert "yes" == found["appendonly"]
    assert "everysec" == found["appendfsync"]
    assert "noeviction" == found["maxmemory-policy"]
    assert "0" == found["port"]
    assert "" == found["save"]


def test_postgres_gives_way_to_valkey_where_cores_are_short(tmp_path):
    options = Options(durable=False, postgres_niceness=3)
    with Embedded(tmp_path / "data", options) as embedded:
        valkey, postgres = [server.pid for server in embedded.servers]
        nicer = os.getpriority(os.PRIO_PROCESS, postgres)
        assert os.getpriority(os.PRIO_PROCESS, valkey) + 3 == nicer


@pytest.mark.skipif(
    not Path("/proc/self/autogroup").exists(), reason="no autogroups here"
)
def test_a_session_of_postgres_gives_way_to_other_sessions(tmp_path):
    async def gives_way(url):
        connection = await asyncpg.connect(url)
        try:
            pid = await connection.fetchval("select pg_backend_pid()")
            file = Path(f"/proc/{pid}/autogroup")
            async with asyncio.timeout(20):
                while " nice 3\n" not in await asyncio.to_thread(file.read_text):
                    await asyncio.sleep(0.05)
        finally:
            await connection.close()

    options = Options(durable=False, postgres_niceness=3)
    with Embedded(tmp_path / "data", options) as embedded:
        asyncio.run(gives_way(embedded.database_url))


def test_postgres_is_durable_and_listens_on_its_socket_only(tmp_path, ask):
    names = (
        "fsync",
        "synchronous_commit",
        "full_page_writes",
        "data_checksums",
        "listen_addresses",
        "unix_socket_permissions",
        "server_encoding",
        "TimeZone",
    )

    async def settings(connection, _):
        return [
            await connection.fetchval("SELECT current_setting($1)", name)
            for name in names
        ]

    with running(tmp_path / "data") as embedded:
        found = ask(embedded, settings)

    assert ["on", "on", "on", "on", "", "0700", "UTF8", "UTC"] == found


def test_arq_takes_the_url_of_valkey(tmp_path, ask):
    async def enqueue(*_):
        pool = await create_pool(RedisSettings.from_dsn(embedded.redis_url))
        try:
            return await pool.enqueue_job("anything")
        finally:
            await pool.aclose()

    with running(tmp_path / "data", durable=False) as embedded:
        assert ask(embedded, enqueue) is not None


def test_the_secret_is_private_and_made_once(tmp_path):
    secrets = set()
    for _ in range(2):
        with running(tmp_path / "data", durable=False) as embedded:
            secrets.add(embedded.secret)

    (secret,) = secrets
    mode = (tmp_path / "data" / "secret").stat().st_mode
    assert 43 == len(secret)
    assert 0o600 == stat.S_IMODE(mode)


def test_other_commands_find_what_runs_and_what_was_published(tmp_path):
    data = tmp_path / "data"
    assert Instance.load(data) is None

    with running(data, durable=False) as embedded:
        embedded.publish(host="127.0.0.1", port=8080)
        found = Instance.require(data)
        assert embedded.redis_url == found.redis_url
        assert embedded.database_url == found.database_url
        assert embedded.secret == found.secret()
        assert {"host": "127.0.0.1", "port": 8080} == found.facts

    assert Instance.load(data) is None


def test_valkey_takes_a_quarter_of_the_memory_unless_told():
    assert 5 == Options(memory=5).valkey_memory()
    assert Options().valkey_memory() >= 1 << 27
