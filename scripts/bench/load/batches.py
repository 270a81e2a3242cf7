"""Batches of clicks, and a workspace's key that may send them."""

from collections.abc import Iterator, Sequence
from itertools import count, islice
from typing import Final

import orjson

from ingest.dialects.batch import ROUTE
from scripts.bench.environment.servers import BenchServers
from scripts.bench.load import traffic
from scripts.bench.load.load import Requests
from scripts.services.administer.access import keys

#: So many clicks are made, each of another visitor, before they come again.
_CLICKS: Final = 50_000


def batches(
    servers: BenchServers, codes: Sequence[str], size: int, at_once: int, key: str
) -> Requests:
    """Batches of so many clicks on these links; `at_once` are the events under way."""
    file = servers.data / f"batches-{codes[0]}"
    clicks = _clicks(codes)
    with file.open("wb") as lines:
        for _ in range(max(1, _CLICKS // size)):
            lines.write(b"[" + b",".join(islice(clicks, size)) + b"]\n")
    return Requests(ROUTE.path, file, size, key, at_once)


def _clicks(codes: Sequence[str]) -> Iterator[bytes]:
    bodies = [orjson.loads(body) for body in traffic.bodies(codes)]
    for number in count():
        body, ip = bodies[number % len(bodies)], traffic.address(number)
        yield orjson.dumps({"path": traffic.PATH, "body": body, "ip": ip})


async def add_key(servers: BenchServers, workspace: str) -> str:
    """A key for everything; edges know it once the directory is published anew."""
    secrets = servers.environment.secrets()
    async with servers.postgres() as connection:
        made = await keys.add(
            connection,
            secrets=secrets,
            secret=None,
            scopes=["*"],
            name="bench",
            workspace=workspace,
        )
    return str(made["secret"])
