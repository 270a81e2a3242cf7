"""Servers and databases for every test that needs real ones.

By default the embedded servers, started once per session; `REFTIDE_TEST_REDIS_URL` and
`REFTIDE_TEST_DATABASE_URL` choose others, whose named Redis database is emptied and on
whose PostgreSQL the tests create and drop databases of their own.
"""

import asyncio
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from io import StringIO
from itertools import count
from pkgutil import resolve_name
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest
import structlog
from redis import Redis

from scripts.services.maintain.schema import schema_text
from tests.support.blocking import blocking_calls_fail
from tests.support.examples import choose_examples
from tests.support.servers.embedded import room_in_memory, running

choose_examples()

_NUMBERS = count()
#: For how long an edge waits for Redis.
_WAITS = (
    "ingest.redis_io.client.ANSWER_SECONDS",
    "ingest.redis_io.client._CONNECT_SECONDS",
    "ingest.redis_io.client._READY_SECONDS",
    "ingest.dependencies._CHANGES_SECONDS",
)
#: For how long it waits for its disk, in tests of Redis' outages too.
DISK_WAIT = "ingest.durable.spool.spool._WRITE_SECONDS"
_PATIENT_SECONDS = 15.0
#: Tracebacks in colours and boxes take a tenth of a second each.
_PLAIN = structlog.dev.ConsoleRenderer(
    colors=False, exception_formatter=structlog.dev.plain_traceback
)


@dataclass(frozen=True, slots=True)
class Servers:
    """Where the session's servers are."""

    redis_url: str
    database_url: str

    def database(self, name: str) -> str:
        """The address of another database of the same server."""
        return urlunsplit(urlsplit(self.database_url)._replace(path=f"/{name}"))

    def execute(self, statement: str, database: str | None = None) -> None:
        """Run one statement outside any transaction."""
        url = self.database(database) if database else self.database_url

        async def run() -> None:
            connection = await asyncpg.connect(url)
            try:
                await connection.execute(statement)
            finally:
                await connection.close()

        asyncio.run(run())


@pytest.fixture(autouse=True)
def logs_as_they_begin() -> Iterator[StringIO]:
    """Logs of an edge in this process are apart from what a command beside it prints.

    What that command sets for its own process must not silence the next test's logs.
    """
    logs = StringIO()
    *processors, _ = structlog.get_config()["processors"]
    structlog.configure(
        processors=[*processors, _PLAIN],
        logger_factory=structlog.PrintLoggerFactory(logs),
    )
    yield logs
    structlog.reset_defaults()
    sys.stderr.write(logs.getvalue())


@pytest.fixture(scope="session", autouse=True)
def blocked_loops_fail() -> Iterator[None]:
    with blocking_calls_fail():
        yield


@pytest.fixture(scope="session", autouse=True)
def patient_edges() -> Iterator[Mapping[str, float]]:
    """Edges in this process wait long for Redis and their disk: a busy machine is no outage."""
    usual = {name: resolve_name(name) for name in (*_WAITS, DISK_WAIT)}
    with pytest.MonkeyPatch.context() as patch:
        for name in usual:
            patch.setattr(name, _PATIENT_SECONDS)
        yield usual


@pytest.fixture(scope="session", autouse=True)
def forgetful_edges() -> Iterator[None]:
    """Edges in this process leave nothing in the machine's memory."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ingest.settings.SHARED_MEMORY", "off")
        yield


@pytest.fixture(autouse=True)
def hasty_edges(
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    patient_edges: Mapping[str, float],
) -> None:
    """In tests of outages, they wait as long as they do outside."""
    if request.node.get_closest_marker("hasty"):
        for name in _WAITS:
            monkeypatch.setattr(name, patient_edges[name])


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    given = os.environ  # noqa: TID251 -- the tests' entry point
    redis_url = given.get("REFTIDE_TEST_REDIS_URL")
    database_url = given.get("REFTIDE_TEST_DATABASE_URL")
    with ExitStack() as stack:
        if not (redis_url and database_url):
            data = stack.enter_context(
                room_in_memory(tmp_path_factory.mktemp("servers"))
            )
            embedded = stack.enter_context(running(data, durable=False))
            redis_url = redis_url or embedded.redis_url
            database_url = database_url or embedded.database_url
        yield Servers(redis_url, database_url)


@pytest.fixture(scope="session")
def template(servers: Servers) -> Iterator[str]:
    """A database with the schema, to copy from."""
    name = f"reftide_template_{os.getpid()}"
    servers.execute(f'create database "{name}"')
    servers.execute(schema_text(), name)
    yield name
    servers.execute(f'drop database "{name}" with (force)')


@pytest.fixture
def new_database(servers: Servers, template: str) -> Iterator[Callable[[], str]]:
    """Makes databases with the schema and nothing in them."""
    names: list[str] = []

    def create() -> str:
        name = f"reftide_test_{os.getpid()}_{next(_NUMBERS)}"
        # Through the log, as it is otherwise done, a copy takes twice the time.
        servers.execute(
            f'create database "{name}" template "{template}" strategy file_copy'
        )
        names.append(name)
        return servers.database(name)

    yield create
    for name in names:
        servers.execute(f'drop database "{name}" with (force)')


@pytest.fixture
def database_url(new_database: Callable[[], str]) -> str:
    """A database with the schema and nothing in it."""
    return new_database()


@pytest.fixture
def redis_url(servers: Servers) -> str:
    """An empty Redis."""
    with Redis.from_url(servers.redis_url) as redis:
        redis.flushdb()
    return servers.redis_url
