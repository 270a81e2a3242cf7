"""What many modules need as it is: databases with something in them, and who works there."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from redis import Redis
from structlog.testing import capture_logs

from ingest.contracts.stream import GROUP, SHARDS_KEY, epoch_key, events_key
from tests.conftest import Servers
from tests.support.directory import furnish
from tests.support.servers.cli import Cli, servers_of
from tests.support.servers.installation import Installation, an_installation
from tests.support.servers.s3 import S3Server
from tests.support.workers.by_hand import Hands
from tests.support.workers.quarantine_desk import Desk
from tests.support.workers.redriving import Clinic, a_clinic
from workers.postgres.database import Pool, open_pool


@pytest.fixture
def quiet() -> Iterator[None]:
    """What edges in this process say would stand among what commands print."""
    with capture_logs():
        yield


@pytest.fixture
async def site(
    redis_url: str, database_url: str, tmp_path: Path
) -> AsyncIterator[Installation]:
    async with an_installation(redis_url, database_url, tmp_path) as found:
        yield found


@pytest.fixture
def empty_database(servers: Servers) -> Iterator[str]:
    """A database with nothing in it."""
    name = f"reftide_empty_{uuid4().hex}"
    servers.execute(f'create database "{name}" strategy file_copy')
    yield servers.database(name)
    servers.execute(f'drop database "{name}" with (force)')


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    async with open_pool(database_url, size=4) as pool:
        async with pool.acquire() as connection:
            await furnish(connection)
        yield pool


@pytest.fixture
def cli(redis_url: str, database_url: str) -> Cli:
    """A command line on servers that hold nothing yet."""
    return servers_of(redis_url, database_url)


@pytest.fixture
def shop(cli: Cli) -> Cli:
    """A workspace with program 1, the partner jane and the link SUMMER."""
    cli.document("programs", "add", "Shop", "--url", "https://shop.example")
    cli.document("partners", "add", "jane")
    cli.document("links", "add", "SUMMER", "--program", "1", "--partner", "jane")
    return cli


@pytest.fixture
def hands(shop: Cli, redis_url: str) -> Iterator[Hands]:
    """The shop with four empty shards, and what an edge and a worker would do there."""
    with Redis.from_url(redis_url) as redis:
        redis.set(SHARDS_KEY, 4)
        for shard in range(4):
            (row,) = shop.fetch(
                "insert into stream_epochs (shard) values ($1) returning epoch", shard
            )
            redis.set(epoch_key(shard), row["epoch"])
            redis.xgroup_create(events_key(shard), GROUP, id="0", mkstream=True)
        yield Hands(shop, redis)


@pytest.fixture
def desk(cli: Cli, database_url: str, redis_url: str) -> Desk:
    """Somebody who looks after the quarantine of an installation."""
    return Desk(cli, database_url, redis_url)


@pytest.fixture
async def clinic(database_url: str, redis_url: str) -> AsyncIterator[Clinic]:
    """The quarantine of a furnished installation, whose jobs are run by hand."""
    async with a_clinic(database_url, redis_url) as made:
        yield made


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Server]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    found = S3Server()
    yield found
    found.stop()
