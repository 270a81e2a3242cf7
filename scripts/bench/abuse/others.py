"""What scenarios share: how much runs, and a second workspace with a key and a link."""

from dataclasses import dataclass
from typing import Any, Final

from scripts.bench.environment.processes import Start, reftide
from scripts.bench.environment.servers import BenchServers
from scripts.bench.load.batches import add_key
from scripts.services.administer.access.workspaces import ensure
from scripts.services.administer.catalogue import partners, programs
from scripts.services.administer.catalogue.links import NewLink, add_link

CODE: Final = "OTHER"
_NAME: Final = "other"
_PROGRAM: Final = 77


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What runs, how often and for how long."""

    pairs: int
    seconds: float
    edges: int
    workers: int

    @property
    def start(self) -> Start:
        return reftide(self.edges, self.workers)


async def add_other(servers: BenchServers) -> str:
    """Make it; its key. Edges know it once the directory is published anew."""
    link = NewLink(
        code=CODE, program=_PROGRAM, partner=_NAME, url="https://other.example"
    )
    async with servers.postgres() as connection, connection.transaction():
        await ensure(connection, _NAME)
        made: dict[str, Any] = {"number": _PROGRAM, "workspace": _NAME}
        await programs.add(connection, _NAME, **made)
        await partners.add(connection, _NAME, workspace=_NAME)
        await add_link(connection, link)
    return await add_key(servers, _NAME)
