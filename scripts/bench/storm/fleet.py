"""The processes of a storm, the links between them, and who starts what has ended."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs, urlsplit

from scripts.bench.environment.children import free_port
from scripts.bench.environment.proxy import HOST, Link
from scripts.bench.storm.faults import EDGES, SERVERS, WORKERS
from scripts.embedded import Embedded, Server
from scripts.embedded.server import ending
from scripts.environment import Environment
from scripts.stack.supervision import Process, Say, drain

_STOP_SECONDS: Final = 12.0
_PAUSE_SECONDS: Final = 0.2
_PROC: Final = Path("/proc")
#: What PostgreSQL calls its socket.
_PG_SOCKET: Final = ".s.PGSQL.5432"


@dataclass(slots=True)
class Member:
    """A process that is kept running. Whoever has its lock may end it."""

    name: str
    kept: Process | Server
    restart: Callable[[], Awaitable[None]]
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    def signal(self, number: signal.Signals) -> None:
        """To it and its children: PostgreSQL has one for each session."""
        pid = self.kept.pid
        for each in [] if pid is None else [pid, *_children(pid)]:
            with suppress(ProcessLookupError):
                os.kill(each, number)

    async def kill(self) -> None:
        exited = asyncio.wrap_future(self.kept.exited)
        self.signal(signal.SIGKILL)
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


@dataclass(frozen=True, slots=True)
class Fleet:
    """The processes and what joins them. Links are named as in `faults`."""

    environment: Environment
    #: The ports at which the client finds the edges.
    ports: Sequence[int]
    members: Mapping[str, Member]
    links: Mapping[str, Link]
    #: An edge like this one, not started, with other variables beside.
    another: Callable[[str, Mapping[str, str]], Process]
    #: Ends that nobody brought about.
    deaths: list[str] = field(default_factory=list)

    async def keep(self, member: Member, say: Say) -> None:
        """Start it again whenever it ends by itself, and make a note of that."""
        while True:
            how = ending(await asyncio.wrap_future(member.kept.exited))
            async with member.lock:
                if not member.kept.exited.done():
                    continue  # it was a fault's doing, and is undone
                self.deaths.append(f"{member.name}: {how}")
                say(f"{member.name} ended by itself ({how}); starting it again")
                await asyncio.sleep(_PAUSE_SECONDS)
                await member.restart()


@asynccontextmanager
async def assembled(
    embedded: Embedded,
    environment: Environment,
    folder: Path,
    say: Say,
) -> AsyncIterator[Fleet]:
    """Everything started and kept running for the length of a block."""
    (folder / "log").mkdir()
    async with AsyncExitStack() as stack:
        ports = {name: free_port() for name in EDGES}
        links = _links(embedded, ports)
        for link in links.values():
            await link.open()
            stack.push_async_callback(link.close)
        make = partial(_process, environment, links, ports, folder / "log")
        client = [links[f"client and edge: {name}"].port for name in EDGES]
        fleet = Fleet(environment, client, _members(embedded, make), links, make)
        stack.push_async_callback(_stopped, fleet, say)
        for member in fleet.members.values():
            if isinstance(member.kept, Process):
                member.kept.start()
        keepers = [
            asyncio.create_task(fleet.keep(member, say))
            for member in fleet.members.values()
        ]
        # Before the processes: nothing is started while everything ends.
        stack.push_async_callback(_cancelled, keepers)
        yield fleet


async def _stopped(fleet: Fleet, say: Say) -> None:
    ours = [member.kept for member in fleet.members.values()]
    await drain([one for one in ours if isinstance(one, Process)], _STOP_SECONDS, say)


async def _cancelled(tasks: Sequence["asyncio.Task[None]"]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    for task in tasks:
        if not task.cancelled():
            task.result()


def _links(embedded: Embedded, ports: Mapping[str, int]) -> dict[str, Link]:
    valkey = Path(urlsplit(embedded.redis_url).path)
    (sockets,) = parse_qs(urlsplit(embedded.database_url).query)["host"]
    made = [
        *(Link(f"client and edge: {name}", ports[name]) for name in EDGES),
        *(Link(f"edge and Valkey: {name}", valkey) for name in EDGES),
        *(Link(f"worker and Valkey: {name}", valkey) for name in WORKERS),
        *(
            Link(f"worker and Postgres: {name}", Path(sockets, _PG_SOCKET))
            for name in WORKERS
        ),
    ]
    return {link.name: link for link in made}


def _members(
    embedded: Embedded, make: Callable[[str, Mapping[str, str]], Process]
) -> dict[str, Member]:
    members: dict[str, Member] = {}
    for name, server in zip(SERVERS, embedded.servers, strict=True):
        members[name] = Member(name, server, partial(embedded.restart, server))
    for name in (*EDGES, *WORKERS):
        process = make(name, {})
        members[name] = Member(name, process, process.restart)
    return members


def _process(
    environment: Environment,
    links: Mapping[str, Link],
    ports: Mapping[str, int],
    logs: Path,
    name: str,
    more: Mapping[str, str],
) -> Process:
    kind, _, number = name.partition(" ")
    variables = {**environment.for_processes(), **more}
    valkey = links[f"{kind} and Valkey: {name}"]
    variables["REDIS_URL"] = f"redis://{HOST}:{valkey.port}/0"
    log = logs / f"{kind}-{number}.log"
    if kind == "edge":
        variables |= {
            "REFTIDE_HOST": HOST,
            "REFTIDE_PORT": str(ports[name]),
            # As behind a balancer: the visitor's address is in a header.
            "REFTIDE_TRUSTED_PROXIES": f"{HOST}/32",
        }
        return Process(name, "ingest", variables, log)
    variables["REFTIDE_WORKER_NAME"] = f"storm-{number}"
    database = links[f"worker and Postgres: {name}"]
    place = f"reftide@{HOST}:{database.port}/reftide?sslmode=disable"
    variables["DATABASE_URL"] = f"postgresql://{place}"
    return Process(name, "workers", variables, log)


def _children(pid: int) -> list[int]:
    found = []
    for folder in _PROC.glob("[0-9]*"):
        with suppress(OSError):
            stat = (folder / "stat").read_text("ascii", "replace").rpartition(")")[2]
            if int(stat.split()[1]) == pid:
                found.append(int(folder.name))
    return found
