"""Where a measurement takes place: servers of its own, with links to click on."""

import asyncio
import signal
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType
from typing import Final, Literal

from redis.asyncio import Redis

from ingest.contracts.directory import DEFAULT_NAMESPACE, LinkRecord, link_key
from scripts.embedded import Embedded, EmbeddedError, Options
from scripts.environment import Environment
from scripts.errors import Unreachable
from scripts.servers import Connection, postgres, redis_server
from scripts.services.administer.catalogue.links import NewLink, add_link
from scripts.services.maintain.schema import schema_text
from scripts.services.maintain.seed import plant
from scripts.stack.supervision import RECORDING_NICENESS
from workers.publish.publisher import publish_if_missing

#: As many links share the clicks, evenly, unless a measurement wants others.
LINKS: Final = 100
SHARDS: Final = 4
#: What a measurement makes links from.
LINK: Final = NewLink(code="", program=1, partner="jane", url="https://yoursite.com")
#: For statements that empty or copy whole tables.
SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class Checkout:
    """Where processes come from: a folder with the packages, and the Python to run them."""

    root: Path
    python: str


#: This one.
HERE: Final = Checkout(Path(__file__).parents[3], sys.executable)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a measurement asks of its servers.

    `tells_commits`: Postgres keeps the time of every commit, which costs it a little.
    `stream_server`: the program of another Redis or Valkey. `gives_way`: where cores are short,
    PostgreSQL waits, as under `up`; not where baselines answer only after a COMMIT.
    """

    links: int = LINKS
    appendfsync: Literal["everysec", "always"] = "everysec"
    tells_commits: bool = False
    stream_server: Path | None = None
    gives_way: bool = False


_AS_USUAL: Final = Asked()


@dataclass(frozen=True, slots=True)
class BenchServers:
    """Running servers with the schema, the demo workspace and its directory published.

    `data` is a directory for whatever a measurement needs; `links` are what to click on;
    edges and workers come from `checkout`.
    """

    environment: Environment
    data: Path
    links: Sequence[LinkRecord] = ()
    embedded: Embedded | None = None
    checkout: Checkout = HERE

    @property
    def codes(self) -> list[str]:
        return [link.code for link in self.links]

    @property
    def pids(self) -> dict[str, int]:
        """The processes of the servers by name."""
        servers = self.embedded.servers if self.embedded else ()
        return {server.name: server.pid or 0 for server in servers}

    def postgres(self) -> AbstractAsyncContextManager[Connection]:
        return postgres(self.environment, seconds=SECONDS)

    def redis(self) -> AbstractAsyncContextManager[Redis]:
        return redis_server(self.environment)

    def variables(self) -> Mapping[str, str]:
        """What processes are started with."""
        return {
            **self.environment.for_processes(),
            "PYTHONPATH": str(self.checkout.root),
            "REFTIDE_LOG_LEVEL": "warning",
        }


@contextmanager
def prepared(caller: Environment, asked: Asked = _AS_USUAL) -> Iterator[BenchServers]:
    """Servers with tables and links. Raises Unreachable where they do not start."""
    with started(caller, asked) as servers:
        links = asyncio.run(planted(servers.environment, asked.links))
        yield replace(servers, links=links)


@contextmanager
def started(
    caller: Environment, asked: Asked = _AS_USUAL, checkout: Checkout = HERE
) -> Iterator[BenchServers]:
    """Servers with nothing in them. Raises Unreachable where they do not start.

    The caller's own variables for Reftide do not count: they may name real servers.
    """
    options = Options(
        appendfsync=asked.appendfsync,
        stream_server=asked.stream_server,
        postgres_niceness=RECORDING_NICENESS if asked.gives_way else 0,
    )
    with interruptible(), TemporaryDirectory(prefix="reftide-bench-") as name:
        data = Path(name)
        try:
            with Embedded(data / "servers", options) as embedded:
                environment = Environment(
                    {
                        **_foreign(caller),
                        "REDIS_URL": embedded.redis_url,
                        "DATABASE_URL": embedded.database_url,
                        "REFTIDE_SECRET": embedded.secret,
                        "REFTIDE_DATA": str(data / "processes"),
                        "REFTIDE_SHARDS": str(SHARDS),
                    },
                    caller.clock,
                )
                servers = BenchServers(environment, data, (), embedded, checkout)
                if asked.tells_commits:
                    asyncio.run(_keep_commit_times(servers))
                    server = embedded.servers[1]
                    server.stop()
                    server.start(threading.Event())
                yield servers
        except EmbeddedError as error:
            raise Unreachable(error.what, error.remedy) from error


@contextmanager
def interruptible() -> Iterator[None]:
    """SIGTERM is as Ctrl-C: what was made is taken away, which can be gigabytes."""

    def end(number: int, _: FrameType | None) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


async def _keep_commit_times(servers: BenchServers) -> None:
    async with servers.postgres() as connection:
        await connection.execute("alter system set track_commit_timestamp = on")


def _foreign(environment: Environment) -> dict[str, str]:
    """The variables that are not Reftide's, nor name its servers."""
    return {
        name: value
        for name, value in environment.variables.items()
        if not name.startswith("REFTIDE_")
        and name not in {"REDIS_URL", "ARQ_REDIS_URL", "DATABASE_URL"}
    }


async def planted(environment: Environment, links: int = LINKS) -> list[LinkRecord]:
    """The schema, the demo workspace and links to click on, published."""
    codes = [f"BENCH{number:04}" for number in range(links)]
    async with (
        postgres(environment, seconds=SECONDS) as connection,
        redis_server(environment) as redis,
    ):
        await connection.execute(schema_text())
        await plant(environment)
        async with connection.transaction():
            for code in codes:
                await add_link(connection, replace(LINK, code=code))
        await publish_if_missing(connection, redis)
        keys = [link_key(DEFAULT_NAMESPACE, code) for code in codes]
        return [LinkRecord.decode(raw) for raw in await redis.mget(keys)]
