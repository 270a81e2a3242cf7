"""Where a measurement takes place: servers of its own, with links to click on."""

import asyncio
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType
from typing import Final, Literal

from redis.asyncio import Redis

from ingest.contracts.directory import DEFAULT_NAMESPACE, LinkRecord, link_key
from scripts.bench.environment.children import HERE, Checkout
from scripts.embedded import Embedded, EmbeddedError, Options
from scripts.environment import Environment
from scripts.errors import Unreachable
from scripts.servers import Connection, postgres, redis_server
from scripts.services.administer.catalogue.links import Wanted, add_link
from scripts.services.maintain.schema import schema_text
from scripts.services.maintain.seed import plant
from workers.publish.publisher import publish_if_missing

#: As many links share the clicks, evenly, unless a measurement wants others.
LINKS: Final = 100
SHARDS: Final = 4
_PROGRAM: Final = 1
_PARTNER: Final = "jane"
_SITE: Final = "https://yoursite.com"
#: For statements that empty or copy whole tables.
SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a measurement asks of its servers.

    `tells_commits`: Postgres keeps the time of every commit, which costs it a little.
    """

    links: int = LINKS
    appendfsync: Literal["everysec", "always"] = "everysec"
    tells_commits: bool = False


_AS_USUAL: Final = Asked()


@dataclass(frozen=True, slots=True)
class BenchServers:
    """Running servers with the schema, the demo workspace and its directory published.

    `data` is a directory for whatever a measurement needs; `links` are what to click on;
    `pids` are the processes of the servers by name; edges and workers come from `checkout`.
    """

    environment: Environment
    data: Path
    links: Sequence[LinkRecord]
    pids: Mapping[str, int] = field(default_factory=dict)
    checkout: Checkout = HERE

    @property
    def codes(self) -> list[str]:
        return [link.code for link in self.links]


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
    options = Options(appendfsync=asked.appendfsync)
    with interruptible(), TemporaryDirectory(prefix="reftide-bench-") as name:
        data = Path(name)
        try:
            with Embedded(data / "servers", options) as embedded:
                environment = Environment(
                    {
                        **foreign(caller),
                        "REDIS_URL": embedded.redis_url,
                        "DATABASE_URL": embedded.database_url,
                        "REFTIDE_SECRET": embedded.secret,
                        "REFTIDE_DATA": str(data / "processes"),
                        "REFTIDE_SHARDS": str(SHARDS),
                    },
                    caller.clock,
                )
                if asked.tells_commits:
                    _have_commits_told(embedded, environment)
                pids = {one.name: one.pid or 0 for one in embedded.servers}
                yield BenchServers(environment, data, (), pids, checkout)
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


def _have_commits_told(embedded: Embedded, environment: Environment) -> None:
    asyncio.run(_set_up(environment))
    _, server = embedded.servers
    server.stop()
    server.start(threading.Event())


async def _set_up(environment: Environment) -> None:
    async with postgres(environment) as connection:
        await connection.execute("alter system set track_commit_timestamp = on")


def foreign(environment: Environment) -> dict[str, str]:
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
        await _add_links(connection, codes)
        await publish_if_missing(connection, redis)
        return [await _published(redis, code) for code in codes]


async def _add_links(connection: Connection, codes: Sequence[str]) -> None:
    async with connection.transaction():
        for code in codes:
            wanted = Wanted(code=code, program=_PROGRAM, partner=_PARTNER, url=_SITE)
            await add_link(connection, wanted)


async def _published(redis: Redis, code: str) -> LinkRecord:
    raw: bytes = await redis.get(link_key(DEFAULT_NAMESPACE, code))
    return LinkRecord.decode(raw)
