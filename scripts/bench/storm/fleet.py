"""The processes of a storm, the links between them, and who starts what has ended."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs, urlsplit

from scripts.bench.environment import usage
from scripts.bench.environment.processes import free_port
from scripts.bench.environment.proxy import HOST, Link
from scripts.bench.environment.runs import tell
from scripts.bench.storm.append_only import Append, AppendOnlyFile
from scripts.embedded import Embedded, Server
from scripts.embedded.server import ending
from scripts.environment import Environment
from scripts.stack.supervision import Process, drain

EDGES: Final = ("edge 1", "edge 2")
WORKERS: Final = ("worker 1", "worker 2", "worker 3")
SERVERS: Final = ("Valkey", "Postgres")
#: What links join, and whose they are.
LINKS: Final = (
    *(f"client and edge: {name}" for name in EDGES),
    *(f"edge and Valkey: {name}" for name in EDGES),
    *(f"worker and Valkey: {name}" for name in WORKERS),
    *(f"worker and Postgres: {name}" for name in WORKERS),
)

_STOP_SECONDS: Final = 12.0
_PAUSE_SECONDS: Final = 0.2
#: What PostgreSQL calls its socket.
_PG_SOCKET: Final = ".s.PGSQL.5432"


@dataclass(slots=True)
class Member:
    """A process that is kept running. The holder of its lock may end it."""

    name: str
    kept: Process | Server
    fleet: "Fleet"
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def restart(self) -> None:
        if isinstance(self.kept, Process):
            await self.kept.restart()
        else:
            await self.fleet.embedded.restart(self.kept)

    async def replace(self, more: Mapping[str, str]) -> None:
        """Stop it, and start one like it with other variables beside."""
        await self.stop()
        self.kept = self.fleet.process(self.name, more)
        await self.restart()

    def freeze(self) -> None:
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        """To it and its children: PostgreSQL has one for each session."""
        for pid in usage.tree([] if self.kept.pid is None else [self.kept.pid]):
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    async def kill(self) -> None:
        exited = asyncio.wrap_future(self.kept.exited)
        self._signal(signal.SIGKILL)
        await exited

    async def stop(self) -> None:
        """Let it finish what it has in hand; kill it if it takes too long."""
        exited = asyncio.wrap_future(self.kept.exited)
        if self.kept.pid is not None:
            with suppress(ProcessLookupError):
                os.kill(self.kept.pid, signal.SIGTERM)
        _, slow = await asyncio.wait([exited], timeout=_STOP_SECONDS)
        if slow:
            await self.kill()

    async def keep(self) -> None:
        """Start it again whenever it ends by itself, and make a note of that."""
        while True:
            how = ending(await asyncio.wrap_future(self.kept.exited))
            async with self.lock:
                if not self.kept.exited.done():
                    continue  # it was a fault's doing, and is undone
                self.fleet.deaths.append(f"{self.name}: {how}")
                tell(f"{self.name} ended by itself ({how}); starting it again")
                await asyncio.sleep(_PAUSE_SECONDS)
                await self.restart()


@dataclass
class Fleet:
    """The processes and what joins them, by name. `logs` is the folder of their logs."""

    embedded: Embedded
    environment: Environment
    logs: Path
    links: Mapping[str, Link] = field(default_factory=dict)
    members: dict[str, Member] = field(default_factory=dict)
    #: Where each edge listens; the client goes through links.
    listens: Mapping[str, int] = field(
        default_factory=lambda: {name: free_port() for name in EDGES}
    )
    #: Ends that nobody brought about.
    deaths: list[str] = field(default_factory=list)
    #: What Valkey lost that it had acknowledged.
    lost: list[Append] = field(default_factory=list)

    @cached_property
    def file(self) -> AppendOnlyFile:
        """Valkey's."""
        return AppendOnlyFile(self.embedded.data / "valkey" / "appendonlydir")

    @property
    def ports(self) -> list[int]:
        """The ports at which the client finds the edges."""
        return [self.links[f"client and edge: {name}"].port for name in EDGES]

    def process(self, name: str, more: Mapping[str, str]) -> Process:
        """An edge or a worker, not started, with other variables beside."""
        kind, _, number = name.partition(" ")
        valkey = self.links[f"{kind} and Valkey: {name}"].port
        variables = {
            **self.environment.for_edge(),
            "REDIS_URL": _through(valkey, self.embedded.redis_url, "redis", "0"),
            "REFTIDE_WORKER_NAME": f"storm-{number}",
            **more,
        }
        log = self.logs / f"{kind}-{number}.log"
        if kind == "edge":
            variables |= {
                "REFTIDE_HOST": HOST,
                "REFTIDE_PORT": str(self.listens[name]),
                # What it appended is known when it is killed.
                "REFTIDE_SHARED_MEMORY": str(self.logs.parent),
                # As behind a balancer: the visitor's address is in a header.
                "REFTIDE_TRUSTED_PROXIES": f"{HOST}/32",
            }
            return Process(name, "ingest", variables, log)
        database = self.links[f"worker and Postgres: {name}"].port
        variables["DATABASE_URL"] = _through(
            database,
            self.embedded.database_url,
            "postgresql",
            "reftide?sslmode=disable",
        )
        return Process(name, "workers", variables, log)


@asynccontextmanager
async def assembled(
    embedded: Embedded, environment: Environment, folder: Path
) -> AsyncIterator[Fleet]:
    """Everything started and kept running for the length of a block."""
    fleet = Fleet(embedded, environment, folder / "log")
    fleet.logs.mkdir()
    async with AsyncExitStack() as stack:
        fleet.links = _links(fleet)
        for link in fleet.links.values():
            await link.open()
            stack.push_async_callback(link.close)
        for name, server in zip(SERVERS, embedded.servers, strict=True):
            fleet.members[name] = Member(name, server, fleet)
        for name in (*EDGES, *WORKERS):
            process = fleet.process(name, {})
            fleet.members[name] = Member(name, process, fleet)
            process.start()
        stack.push_async_callback(_stopped, fleet)
        keepers = [
            asyncio.create_task(member.keep()) for member in fleet.members.values()
        ]
        try:
            yield fleet
        finally:
            # Before the processes: nothing is started while everything ends.
            for keeper in keepers:
                keeper.cancel()
            await asyncio.wait(keepers)
            for keeper in keepers:
                if not keeper.cancelled():
                    keeper.result()  # one that could not start it again


async def _stopped(fleet: Fleet) -> None:
    ours = [member.kept for member in fleet.members.values()]
    await drain([one for one in ours if isinstance(one, Process)], _STOP_SECONDS, tell)


def _through(port: int, url: str, scheme: str, rest: str) -> str:
    """The URL of a server's link, with the password of the server's own URL."""
    credentials = urlsplit(url).netloc
    return f"{scheme}://{credentials}{HOST}:{port}/{rest}"


def _links(fleet: Fleet) -> dict[str, Link]:
    (sockets,) = parse_qs(urlsplit(fleet.embedded.database_url).query)["host"]
    servers = {
        "Valkey": Path(urlsplit(fleet.embedded.redis_url).path),
        "Postgres": Path(sockets, _PG_SOCKET),
    }
    links = {}
    for called in LINKS:
        joined, _, whose = called.partition(": ")
        server = servers.get(joined.rpartition(" ")[2])
        links[called] = Link(called, server or fleet.listens[whose])
    return links
