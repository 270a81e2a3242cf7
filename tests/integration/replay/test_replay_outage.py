"""An outage played through: Postgres goes, workers die, streams are trimmed; nothing is missing."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit, urlunsplit

import asyncpg
import pytest

from ingest.contracts.stream import ARCHIVE_GROUP, GROUP
from scripts.bench.environment.proxy import HOST, Link
from tests.conftest import Servers
from tests.support.directory import miscounted
from tests.support.eventually import eventually
from tests.support.servers.installation import Installation, an_installation
from tests.support.servers.outage import (
    ARCHIVING,
    SHARDS,
    accept,
    cli_of,
    end,
    follow_through,
    is_settled,
)
from workers.stream.trimmer import Trimmer

pytestmark = pytest.mark.usefixtures("quiet")


@pytest.fixture
async def site(
    redis_url: str, database_url: str, tmp_path: Path
) -> AsyncIterator[Installation]:
    more = {**ARCHIVING, "REFTIDE_ARCHIVE": str(tmp_path / "archive")}
    async with an_installation(redis_url, database_url, tmp_path, **more) as made:
        yield made


@asynccontextmanager
async def through_a_link(site: Installation) -> AsyncIterator[Link]:
    """Workers that start inside reach Postgres by a link that may be cut."""
    direct = site.variables["DATABASE_URL"]
    parts = urlsplit(direct)
    folder = parse_qs(parts.query).get("host", [""])[0]
    port = parts.port or 5432
    link = Link("Postgres", Path(folder) / f".s.PGSQL.{port}" if folder else port)
    await link.open()
    credentials = parts.netloc.rpartition("@")[0]
    through = parts._replace(netloc=f"{credentials}@{HOST}:{link.port}", query="")
    site.variables["DATABASE_URL"] = urlunsplit(through)
    try:
        yield link
    finally:
        site.variables["DATABASE_URL"] = direct
        await link.close()


def copy(servers: Servers, name: str, to: str) -> None:
    servers.execute(f'drop database if exists "{to}" with (force)')
    servers.execute(f'create database "{to}" template "{name}"')


async def trim(site: Installation) -> int:
    """By policy, of an installation that keeps nothing that everybody has read."""
    return await Trimmer(site.redis, range(SHARDS), 0).trim()


async def is_read(site: Installation, *groups: str) -> None:
    for group in groups:
        await eventually(lambda group=group: is_settled(site.redis, group))


async def play(site: Installation, back_up: Callable[[], None]) -> list[str]:
    """Events before and after a backup, and while Postgres is silent; all that were accepted."""
    accepted = await accept(site, range(40))
    site.start_worker()
    await is_read(site, GROUP)
    end(site)
    await site.database.close()
    await asyncio.to_thread(back_up)
    accepted += await accept(site, range(100, 150))
    async with through_a_link(site) as postgres:
        site.start_worker()
        await is_read(site, GROUP, ARCHIVE_GROUP)
        assert await trim(site) >= 90
        postgres.fall_silent()
        accepted += await accept(site, range(200, 230))
        await is_read(site, ARCHIVE_GROUP)
        end(site)
    # What nobody has recorded stays, however little is kept.
    assert 0 == await trim(site)
    return accepted + await accept(site, range(300, 310))


async def test_after_an_outage_and_a_restored_backup_every_accepted_event_has_a_row(
    site: Installation, servers: Servers
) -> None:
    url = site.variables["DATABASE_URL"]
    name = urlsplit(url).path[1:]
    backup = f"{name}_backup"
    accepted = await play(site, lambda: copy(servers, name, backup))

    await asyncio.to_thread(copy, servers, backup, name)
    site.start_worker()
    await is_read(site, GROUP)
    await follow_through(site, "PostgreSQL was restored from a backup")

    books = await asyncpg.connect(url)
    rows = await books.fetch("select session from events where session is not null")
    assert sorted(accepted) == sorted(row["session"] for row in rows)
    assert 130 == len(accepted)
    assert [] == await miscounted(books)
    await books.close()
    status = await asyncio.to_thread(cli_of(site).status)
    assert (0, 0) == (status["balance"], status["lost"])
    drop = f'drop database "{backup}" with (force)'
    await asyncio.to_thread(servers.execute, drop)
