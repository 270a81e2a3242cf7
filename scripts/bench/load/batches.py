"""Clicks many in a request, as a server sends them that collected them.

Each names its visitor's address and user agent, which takes a key that may forward. The key
is made in the database, and published with the rest of the directory when a run begins.
"""

import asyncio
from collections.abc import Iterator, Sequence
from itertools import count, islice
from typing import Final

import orjson
from uuid_utils.compat import uuid7

from ingest.contracts import apikey
from ingest.dialects.batch import ROUTE
from scripts.bench.environment.servers import BenchServers
from scripts.bench.load import traffic
from scripts.bench.load.load import Requests
from scripts.sql import statements

_SQL: Final = statements("services/administer/access/keys")
#: So many clicks are made, each of another visitor, before they come again.
_CLICKS: Final = 50_000
_SECRET: Final = "key_of_a_measurement"  # noqa: S105 -- of servers that nobody else sees


def batches(servers: BenchServers, size: int, connections: int) -> Requests:
    """Batches of so many clicks on the links of the servers, and a key that may send them."""
    asyncio.run(_add_key(servers))
    file = servers.data / "batches"
    clicks = _clicks(servers.codes)
    with file.open("wb") as lines:
        for _ in range(max(1, _CLICKS // size)):
            lines.write(b"[" + b",".join(islice(clicks, size)) + b"]\n")
    return Requests(ROUTE.path, file, size, _SECRET, connections)


def _clicks(codes: Sequence[str]) -> Iterator[bytes]:
    bodies = [orjson.loads(body) for body in traffic.bodies(codes)]
    for number in count():
        body, ip = bodies[number % len(bodies)], traffic.address(number)
        yield orjson.dumps({"path": traffic.PATH, "body": body, "ip": ip})


async def _add_key(servers: BenchServers) -> None:
    workspace = servers.links[0].workspace_uuid
    hashes = apikey.hashes(servers.environment.secrets(), _SECRET)
    async with servers.postgres() as connection:
        await connection.execute(
            _SQL["add"], uuid7(), workspace, "bench", hashes[0], _SECRET[-4:], ["*"]
        )
