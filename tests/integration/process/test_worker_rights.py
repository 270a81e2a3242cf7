"""How little of Redis workers and commands need, as the documentation tells operators."""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import orjson
import pytest
from redis import Redis
from redis.exceptions import ResponseError

from tests.support.edge.showcase import SHOWN
from tests.support.servers.cli import Cli
from tests.support.servers.installation import Installation, an_installation
from tests.support.servers.valkey import Valkey, running_valkey

PAGE = Path(__file__).parents[3] / "docs" / "threat-model.md"

#: Those that speak to Redis.
COMMANDS = (
    ("status",),
    ("verify",),
    ("doctor",),
    ("links", "add", "NEW", "--program", "1", "--url", "https://x.example"),
    ("limits", "set", "refport.key", "1200"),
    ("switches", "off", "dialect", "bio_re", "--reason", "a test"),
    ("quarantine", "redrive", "--reason", "unknown_link"),
    ("replay", "--from", "2020-01-01", "--to", "2100-01-01"),
    ("rewind", "--group", "warehouse", "--create", "--to", "2h"),
    ("archive", "status"),
)


@pytest.fixture
def valkey() -> Iterator[Valkey]:
    with running_valkey() as server:
        [rights] = re.findall(r"ACL SETUSER worker .*", PAGE.read_text("utf-8"))
        with Redis.from_url(server.url) as redis:
            assert redis.execute_command(*rights.split())
        yield server


@pytest.fixture
async def site(
    valkey: Valkey, database_url: str, tmp_path: Path
) -> AsyncIterator[Installation]:
    url = valkey.url.replace("unix://", "unix://worker:PASSWORD@")
    archive = {"REFTIDE_ARCHIVE": str(tmp_path / "archive")}
    async with an_installation(url, database_url, tmp_path, **archive) as found:
        found.start_worker()
        yield found


async def test_workers_and_commands_do_with_the_rights_of_the_threat_model(
    site: Installation, valkey: Valkey
) -> None:
    for shown in SHOWN:
        body = orjson.dumps(shown.body)
        await site.edges[0].request(shown.route.method, shown.url, data=body)
    await site.rests()

    cli = Cli(site.variables)
    for command in COMMANDS:
        done = await asyncio.to_thread(cli.run, *command)
        assert done.code in {0, 1}, (command, done.out, done.err)

    with Redis.from_url(valkey.url) as redis:
        assert [] == redis.acl_log()
    with Redis.from_url(site.variables["REDIS_URL"]) as workers:
        for stranger in (("FLUSHALL",), ("SET", "another:key", "1"), ("ACL", "LIST")):
            with pytest.raises(ResponseError, match="permission"):
                workers.execute_command(*stranger)
