"""Where a measurement takes place: servers of its own, with links to click on.

Used by the measurements.
"""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from redis.asyncio import Redis

from ingest.contracts.directory import DEFAULT_NAMESPACE, LinkRecord, link_key
from scripts.embedded import EmbeddedError, running
from scripts.environment import Environment
from scripts.linking import Wanted, add_link
from scripts.output import Unreachable
from scripts.schema import schema_text
from scripts.seeding import plant
from scripts.servers import Connection, postgres, redis_server
from workers.publish import publish_if_missing

#: As many links share the clicks, evenly.
LINKS: Final = 100
SHARDS: Final = 4
_PROGRAM: Final = 1
_PARTNER: Final = "jane"
_SITE: Final = "https://yoursite.com"
#: For statements that empty or copy whole tables.
SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class Ground:
    """Running servers with the schema, the demo workspace and its directory published.

    `data` is a directory for whatever a measurement needs; `links` are what to click on.
    """

    environment: Environment
    data: Path
    links: Sequence[LinkRecord]


@contextmanager
def prepared(caller: Environment) -> Iterator[Ground]:
    """The servers for the length of a `with`. Raises Unreachable where they do not start.

    The caller's own variables for Reftide do not count: they may name real servers.
    """
    with TemporaryDirectory(prefix="reftide-bench-") as name:
        data = Path(name)
        try:
            with running(data / "servers") as embedded:
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
                yield Ground(environment, data, asyncio.run(planted(environment)))
        except EmbeddedError as error:
            raise Unreachable(error.what, error.remedy) from error


def foreign(environment: Environment) -> dict[str, str]:
    """The variables that are not Reftide's, nor name its servers."""
    return {
        name: value
        for name, value in environment.variables.items()
        if not name.startswith("REFTIDE_")
        and name not in {"REDIS_URL", "ARQ_REDIS_URL", "DATABASE_URL"}
    }


async def planted(environment: Environment) -> list[LinkRecord]:
    """The schema, the demo workspace and links to click on, published."""
    codes = [f"BENCH{number:04}" for number in range(LINKS)]
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
