"""Probes the servers that only streams are on, each once a second and for itself."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Final, NamedTuple

from redis.asyncio import Redis
from redis.exceptions import RedisError

from ingest.contracts.checkups.checkup import log_findings
from ingest.contracts.checkups.rights import EDGE as EDGE_RIGHTS
from ingest.contracts.checkups.rights import RIGHTS, at_streams
from ingest.contracts.placement.cluster import is_misrouted
from ingest.contracts.placement.streams_url import misplaced
from ingest.contracts.stream import PLACE_KEY, probe_key
from ingest.contracts.telemetry import Log
from ingest.durable.comparison import Comparisons
from ingest.durable.degradation import Degradation, Pressure
from ingest.durable.probes.epochs import EpochReader
from ingest.durable.probes.pressure import look
from ingest.durable.probes.recovery import BreakerKeeper
from ingest.durable.servers import AppendServer, AppendServers
from ingest.redis_io.client import REDIS_ERRORS, describe_error
from ingest.redis_io.replicated import confirmation, shortfall
from ingest.redis_io.rights import ask_rights

_EVERY_SECONDS: Final = 1.0
_EXPIRES_SECONDS: Final = 15
_UNASKED: Final = "it was not asked yet"


class Misplaced(RedisError):
    """A server is another one of the list to others, or of another list."""


class Pressures:
    """The pressure of all servers, as the degradation level sees it: the worst of them."""

    def __init__(self, degradation: Degradation) -> None:
        self._degradation = degradation
        self._by_server: dict[str, Pressure] = {}
        self._home = Pressure()

    def note_home(self, home: Pressure) -> None:
        """Of the server with the marks of events, and without streams."""
        self._home = home

    def note(self, server: str, found: Pressure | None) -> None:
        """None: it is away, and gets no events."""
        if found is None:
            self._by_server.pop(server, None)
        else:
            self._by_server[server] = found
        known = [*self._by_server.values()]
        worst = Pressure(
            max(
                (each.memory for each in known if each.memory is not None), default=None
            ),
            sum(each.unread or 0 for each in known),
            max((each.age or 0.0 for each in known), default=None),
        )
        self._degradation.observe(worst, self._home)


class ServerProbe:
    """The probe of one server."""

    def __init__(
        self,
        redis: Redis,
        server: AppendServer,
        watched: "Watched",
        place: bytes | None,
    ) -> None:
        """`redis` has no breaker, and a connection that nobody waits for.

        `place`: which of a list the server is.
        """
        self.server = server
        self.redis = redis
        self._watched = watched
        self._place = place
        self._keeper = BreakerKeeper(server.breakers, watched.can_spool)
        self._epochs = EpochReader(redis, watched.comparisons)
        # No events before it has answered once.
        server.breakers.reach.trip(_UNASKED)
        self._is_away = False
        self._are_rights_known = False
        self._is_stopping = asyncio.Event()
        self._log = Log(server=server.name)

    async def run(self, name: str) -> None:
        """Probe for the edge of this name until stopped."""
        while not self._is_stopping.is_set():
            await self.probe(name)
            with suppress(TimeoutError):
                async with asyncio.timeout(_EVERY_SECONDS):
                    await self._is_stopping.wait()

    def stop(self) -> None:
        """Probe no more."""
        self._is_stopping.set()

    async def probe(self, name: str) -> None:
        """Ask the server once for the edge of this name, and act accordingly."""
        server, shards = self.server, [*self.server.shards]
        were_refused = server.breakers.writes.is_open
        try:
            refusal = await self._write(name, shards)
            await self._epochs.read(shards)
            seen = await look(self.redis, shards)
            sealed = self._watched.servers.note_sealed(shards, seen.sealed)
            await self._tell_rights()
        except REDIS_ERRORS as error:
            self._explain(error)
            self._keeper.failed(error)
            self._watched.pressures.note(server.name, None)
        else:
            self._keeper.answered(refusal or sealed, were_refused=were_refused)
            self._watched.pressures.note(server.name, seen.pressure)
        self._watched.servers.route()
        self._say()

    def _explain(self, error: Exception) -> None:
        """Let this be why the server gets no events, where that was not known before."""
        reach = self.server.breakers.reach
        is_new = isinstance(error, Misplaced) and reach.problem != describe_error(error)
        if reach.problem == _UNASKED or is_new:
            reach.close()  # for no turn of the event loop: it is opened again at once

    def _say(self) -> None:
        problem = self.server.breakers.problem
        if problem is not None and not self._is_away:
            self._log.warning("streams.away", problem=problem)
        if problem is None and self._is_away:
            self._log.info("streams.back")
        self._is_away = problem is not None

    async def _tell_rights(self) -> None:
        """Say once what the user of this server may not do that an edge has to."""
        if self._are_rights_known:
            return
        wanted = at_streams(EDGE_RIGHTS, is_listed=self._place is not None)
        found = RIGHTS.judge({"rights": await ask_rights(self.redis, wanted)})
        self._are_rights_known = True
        log_findings(replace(each, server=self.server.name) for each in found)

    async def _write(self, name: str, shards: Sequence[int]) -> str | None:
        """Why it takes no writes, if so. Raises REDIS_ERRORS, Misplaced among them."""
        replicas = self.server.breakers.replicas
        async with self.redis.pipeline(transaction=False) as pipe:
            if self._place is not None:
                pipe.set(PLACE_KEY, self._place, nx=True, get=True)
            for shard in shards:
                pipe.set(probe_key(shard), name, ex=_EXPIRES_SECONDS)
            if replicas.count:
                pipe.execute_command(*confirmation(replicas))
            replies = await pipe.execute(raise_on_error=False)
        confirmed = replies.pop() if replicas.count else None
        if self._place is not None:
            self._require_place(replies.pop(0))
        for shard, reply in zip(shards, replies, strict=True):
            if not isinstance(reply, RedisError):
                self._watched.servers.misrouted.pop(shard, None)
            elif not self._is_elsewhere(shard, reply):
                return describe_error(reply)
        return shortfall(confirmed, replicas) if replicas.count else None

    def _is_elsewhere(self, shard: int, reply: RedisError) -> bool:
        """Whether the cluster has a shard elsewhere."""
        if not is_misrouted(reply):
            return False
        self._watched.servers.misroute(self.server, shard, describe_error(reply))
        return True

    def _require_place(self, known: object) -> None:
        if isinstance(known, RedisError):
            raise known
        if isinstance(known, bytes) and known != self._place:
            problem = misplaced(known, self._place or b"")
            raise Misplaced(f"{self.server.name}: {problem}")


class Watched(NamedTuple):
    """What the probes of all servers have in common.

    `comparisons` get the streams' epochs before a breaker is closed. While not `can_spool`, one
    is closed as soon as the server answers.
    """

    servers: AppendServers
    comparisons: Comparisons
    pressures: Pressures
    can_spool: Callable[[], bool]


class ServerProbes:
    """The probes of all servers, each in a task of its own."""

    def __init__(self, watched: Watched) -> None:
        self.watched = watched
        self._name: str | None = None
        self._tasks: dict[ServerProbe, asyncio.Task[None] | None] = {}

    def add(self, redis: Redis, server: AppendServer, place: bytes | None) -> None:
        """Probe one more server, from the start on."""
        probe = ServerProbe(redis, server, self.watched, place)
        self._tasks[probe] = None
        self._run(probe)

    async def remove(self, server: AppendServer) -> None:
        """Return after the current probe of a server, which is its last."""
        for probe in [each for each in self._tasks if each.server is server]:
            task = self._tasks.pop(probe)
            self.watched.pressures.note(server.name, None)
            await _end(probe, task)

    def start(self, name: str) -> None:
        """For the edge of this name."""
        self._name = name
        for probe in self._tasks:
            self._run(probe)

    def away(self) -> Mapping[str, str]:
        """Why servers take no events that take none, by their names."""
        return {
            server.name: problem
            for server in self.watched.servers.servers
            if (problem := server.breakers.problem) is not None
        }

    async def stop(self) -> None:
        """Return after the current probes."""
        for probe in self._tasks:
            probe.stop()
        for probe, task in self._tasks.items():
            await _end(probe, task)

    def _run(self, probe: ServerProbe) -> None:
        if self._name is not None:
            self._tasks[probe] = asyncio.create_task(probe.run(self._name))


async def _end(probe: ServerProbe, task: asyncio.Task[None] | None) -> None:
    probe.stop()
    if task is not None:
        await asyncio.wait([task])
    await probe.redis.aclose()
