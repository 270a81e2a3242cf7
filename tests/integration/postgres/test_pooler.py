"""An installation whose PostgreSQL is behind PgBouncer in transaction mode."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest

from scripts.bench.environment.pooler import PgBouncer, pgbouncer
from tests.support.console.desk import opened
from tests.support.directory import miscounted
from tests.support.environment import inherited
from tests.support.eventually import eventually
from tests.support.pooler.pgbouncer import lead, needs_pgbouncer
from tests.support.pooler.postgres_pair import Postgres, primary_and_standby
from tests.support.servers.cli import Cli
from tests.support.servers.installation import Installation, an_installation
from tests.support.servers.outage import accept, cli_of
from tests.support.servers.worker_process import Worker

pytestmark = [pytest.mark.pooler, needs_pgbouncer, pytest.mark.usefixtures("quiet")]

_POOLED = {"REFTIDE_POOLER": "transaction", "REFTIDE_SHARDS": "4"}
#: Fewer than one worker opens: each session has many clients.
_FEW = "default_pool_size = 3\nmax_client_conn = 200"
_PAGES = (
    "streams",
    "traffic",
    "events",
    "quarantine",
    "replays",
    "links",
    "operations",
)
#: With it PgBouncer drops what clients ask for.
_IGNORING = (
    "ignore_startup_parameters = statement_timeout,lock_timeout,plan_cache_mode,"
    "idle_in_transaction_session_timeout,synchronous_commit,enable_seqscan,jit"
)


@pytest.fixture
def pooler(database_url: str) -> Iterator[PgBouncer]:
    with pgbouncer(database_url, _FEW) as found:
        yield found


@asynccontextmanager
async def _site(
    redis_url: str, database_url: str, pooler: PgBouncer, path: Path, workers: int = 2
) -> AsyncIterator[Installation]:
    url = pooler.url(urlsplit(database_url).path.removeprefix("/"))
    async with an_installation(
        redis_url, database_url, path, **_POOLED, DATABASE_URL=url
    ) as site:
        for _ in range(workers):
            site.start_worker()
        yield site


class _Load:
    """Clicks until it is told to end; what was answered with 200."""

    def __init__(self, site: Installation, first: int = 0) -> None:
        self._site = site
        self._next = first
        self._is_over = asyncio.Event()
        self.accepted: list[str] = []

    async def run(self) -> None:
        while not self._is_over.is_set():
            some = range(self._next, self._next + 10)
            self.accepted += await accept(self._site, some)
            self._next = some.stop

    async def goes_on(self, count: int = 150) -> None:
        """Wait until so many more were taken."""
        wanted = len(self.accepted) + count

        async def has_gone_on() -> bool:
            return len(self.accepted) >= wanted

        await eventually(has_gone_on, within=120)

    def end(self) -> None:
        self._is_over.set()


async def _sessions(url: str) -> list[str]:
    connection = await asyncpg.connect(url)
    try:
        found = await connection.fetch(
            "select session from events where session is not null order by session"
        )
        return [row["session"] for row in found]
    finally:
        await connection.close()


async def _has(url: str, sessions: list[str]) -> bool:
    return {*sessions} <= {*await _sessions(url)}


async def _miscounted(url: str) -> Any:
    connection = await asyncpg.connect(url)
    try:
        return await miscounted(connection)
    finally:
        await connection.close()


def _commands(cli: Cli, path: Path) -> list[int]:
    """How commands of every kind end."""
    asked = (
        ("schema",),
        ("links", "list"),
        ("links", "add", "POOLED", "--program", "1", "--partner", "jane"),
        ("keys", "add", "--scopes", "track"),
        ("stats", "--by", "day"),
        ("events", "list"),
        ("partitions", "list"),
        ("quarantine", "list"),
        ("reconcile",),
        ("export", "--into", f"file://{path}", "--format", "ndjson"),
        ("replays", "list"),
    )
    cli.status()
    return [cli.run(*command).code for command in asked]


async def test_workers_and_commands_share_few_sessions_under_load(
    redis_url: str, database_url: str, pooler: PgBouncer, tmp_path: Path
) -> None:
    async with _site(redis_url, database_url, pooler, tmp_path) as site:
        load = _Load(site)
        async with asyncio.TaskGroup() as group:
            group.create_task(load.run())
            await load.goes_on()
            codes = await asyncio.to_thread(_commands, cli_of(site), tmp_path)
            await load.goes_on()
            load.end()
        await eventually(lambda: _has(database_url, load.accepted), within=120)

        verified = await asyncio.to_thread(cli_of(site).run, "verify", "--wait", "60")
        assert {0} == {*codes}
        assert 0 == verified.code, verified.out
        assert sorted(load.accepted) == await _sessions(database_url)
        assert [] == await miscounted(site.database)


@pytest.mark.parametrize(
    ("lines", "said", "code"),
    [("", "unsupported startup parameter", 3), (_IGNORING, "it leads to a pooler", 1)],
)
def test_doctor_finds_a_pooler_that_nobody_named(
    redis_url: str, database_url: str, lines: str, said: str, code: int
) -> None:
    name = urlsplit(database_url).path.removeprefix("/")
    with pgbouncer(database_url, lines) as pooler:
        variables = {"REDIS_URL": redis_url, "DATABASE_URL": pooler.url(name)}
        found = Cli(variables).run("doctor")
        named = Cli({**variables, **_POOLED}).run("doctor", "--json")

    assert code == found.code
    told = " ".join(found.out.split())
    assert said in told
    assert "REFTIDE_POOLER=transaction" in told
    levels = {each["check"]: each["level"] for each in named.document["checks"]}
    assert ("ok", "ok") == (levels["pooler"], levels["session"])
    assert "max_connections" not in levels


async def test_a_worker_that_was_not_told_waits_and_says_what_it_needs(
    redis_url: str, database_url: str, pooler: PgBouncer, tmp_path: Path
) -> None:
    given = {
        "REDIS_URL": redis_url,
        "DATABASE_URL": pooler.url(urlsplit(database_url).path.removeprefix("/")),
        "REFTIDE_DATA": str(tmp_path),
    }
    worker = Worker({**inherited(), **given}, tmp_path / "log")

    async def has_said() -> bool:
        assert worker.process.poll() is None, worker.output
        return "REFTIDE_POOLER=transaction" in worker.output

    await eventually(has_said, within=120)
    assert 0 == await worker.stops()


async def test_the_demo_and_the_console_reach_postgresql_through_it(
    redis_url: str, database_url: str, pooler: PgBouncer, tmp_path: Path
) -> None:
    async with _site(redis_url, database_url, pooler, tmp_path, workers=1) as site:
        cli = cli_of(site)
        url = str(site.edges[0].make_url("/"))
        asked = ("demo", "--url", url, "--events", "100", "--json")
        demo = await asyncio.to_thread(cli.run, *asked)
        async with opened(cli, is_open=True) as console:
            seen = [(await console.get(page)).status for page in _PAGES]
            link = await console.get("links?q=PARTNER123")

    assert 0 == demo.code, demo.out + demo.err
    assert {200} == {*seen}
    assert "PARTNER123" in link.text


@asynccontextmanager
async def _pair(
    redis_url: str, path: Path
) -> AsyncIterator[tuple[Installation, Postgres, Postgres, PgBouncer]]:
    """An installation, its primary and standby, and the pooler that leads to one of them."""
    with ExitStack() as stack:
        opening = primary_and_standby()
        primary, standby = await asyncio.to_thread(stack.enter_context, opening)
        pooler = await asyncio.to_thread(stack.enter_context, pgbouncer(primary.url()))
        cli = Cli(
            {"DATABASE_URL": pooler.url("postgres"), "REDIS_URL": redis_url, **_POOLED}
        )
        assert 0 == (await asyncio.to_thread(cli.run, "schema")).code
        async with _site(redis_url, primary.url(), pooler, path) as site:
            yield site, primary, standby, pooler


async def test_a_synchronous_standby_that_is_promoted_has_all_of_it(
    redis_url: str, tmp_path: Path
) -> None:
    async with _pair(redis_url, tmp_path) as (site, primary, standby, pooler):
        await asyncio.to_thread(primary.wait_for_standby)
        load = _Load(site)
        async with asyncio.TaskGroup() as group:
            group.create_task(load.run())
            await load.goes_on()
            await asyncio.to_thread(primary.crash)
            await load.goes_on()
            await asyncio.to_thread(standby.promote)
            await asyncio.to_thread(lead, pooler, standby.url())
            await load.goes_on()
            load.end()
        await eventually(lambda: _has(standby.url(), load.accepted), within=150)

        verified = await asyncio.to_thread(cli_of(site).run, "verify", "--wait", "60")
        assert 0 == verified.code, verified.out
        assert sorted(load.accepted) == await _sessions(standby.url())
        assert [] == await _miscounted(standby.url())


@asynccontextmanager
async def _set_back(
    redis_url: str, path: Path
) -> AsyncIterator[tuple[Installation, Postgres, list[str], list[str]]]:
    """A standby in the place of its primary; what it has, and what only the primary had."""
    async with _pair(redis_url, path) as (site, primary, standby, pooler):
        kept = await accept(site, range(100))
        await eventually(lambda: _has(primary.url(), kept), within=120)
        await asyncio.to_thread(primary.follows, standby)
        await asyncio.to_thread(standby.crash)
        gone = await accept(site, range(100, 160))
        await eventually(lambda: _has(primary.url(), gone), within=120)
        await site.rests()
        await asyncio.to_thread(primary.crash)
        await asyncio.to_thread(standby.start)
        await asyncio.to_thread(standby.promote)
        await asyncio.to_thread(lead, pooler, standby.url())
        kept += await accept(site, range(1000, 1050))
        await eventually(lambda: _has(standby.url(), kept), within=150)
        yield site, standby, kept, gone


async def test_what_an_asynchronous_standby_lacks_is_named_and_replayed(
    redis_url: str, tmp_path: Path
) -> None:
    async with _set_back(redis_url, tmp_path) as (site, standby, kept, gone):
        cli = cli_of(site)
        verify = partial(asyncio.to_thread, cli.run, "verify", "--wait", "30", "--json")
        replay = partial(asyncio.to_thread, cli.run, "replay", "--from", "1h", "--json")

        found = await verify()
        told = [m for m in found.document["mismatches"] if m["what"] == "entry"]
        done = [(await replay()).document["inserted"] for _ in range(2)]
        last = await verify()

        # Of twenty the place is named, and all are counted.
        assert 1 == found.code
        assert told
        assert len(gone) <= found.document["mismatch_count"]
        assert [len(gone), 0] == done
        assert (0, []) == (last.code, last.document["mismatches"])
        assert sorted([*kept, *gone]) == await _sessions(standby.url())
        assert [] == await _miscounted(standby.url())
