"""Does what faults say, and sees whether the edges come back."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, Literal

from scripts.bench.environment.proxy import Link
from scripts.bench.storm.client import Tally
from scripts.bench.storm.faults import Fault, Kind
from scripts.bench.storm.fleet import Fleet, Member
from scripts.errors import Unreachable
from scripts.servers import postgres, redis_server
from scripts.sql import statements
from scripts.stack.supervision import Say

_SQL: Final = statements("bench/storm/storm")

_LEAST_DELAY: Final = 0.02
_MOST_DELAY: Final = 0.3
#: A spool that is full after a few events.
_SMALL_SPOOL: Final = {"REFTIDE_SPOOL_BYTES": "8000"}
_START_SECONDS: Final = 2.0
_BACK_SECONDS: Final = 15.0
_LOOK_AGAIN_SECONDS: Final = 0.05
_TRY_SECONDS: Final = 10.0


@dataclass(slots=True)
class InjectedFault:
    """A fault that took place. Times are seconds since the traffic began.

    `back` is how long after its end both edges had accepted an event sent since; None
    where they had not, in time, or the traffic ended before.
    """

    fault: Fault
    began: float
    ended: float = 0.0
    back: float | None = None
    #: Not before the traffic was over, which says nothing of the edges.
    is_late: bool = False


class FaultInjector:
    """Faults at their time, each in a task of its own."""

    def __init__(self, fleet: Fleet, tally: Tally, say: Say) -> None:
        self.injected: list[InjectedFault] = []
        self.is_over = asyncio.Event()
        self._fleet = fleet
        self._tally = tally
        self._say = say
        self._began = time.monotonic()
        self._acts: dict[Kind, Callable[[Fault], Awaitable[None]]] = {
            "kill": self._kill,
            "stop": self._stop,
            "freeze": self._freeze,
            "cut": self._cut,
            "cut replies": self._cut_replies,
            "delay": self._delay,
            "silence": self._silence,
            "half open": self._half_open,
            "abandoned": self._abandoned,
            "script flush": self._flush_scripts,
            "client kill": self._kill_clients,
            "terminate backends": self._terminate_backends,
            "full disk": self._fill_disk,
        }

    async def run(self, faults: Sequence[Fault], seconds: float) -> None:
        """Return when all of them are over and undone; the traffic takes `seconds`."""
        self._began = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for fault in faults:
                wait = self._began + fault.at * seconds - time.monotonic()
                await asyncio.sleep(max(0.0, wait))
                group.create_task(self._inject(fault))

    async def _inject(self, fault: Fault) -> None:
        self._say(str(fault))
        injected = InjectedFault(fault, self._now())
        self.injected.append(injected)
        await self._acts[fault.kind](fault)
        injected.ended = self._now()
        ended = time.monotonic()
        while time.monotonic() < ended + _BACK_SECONDS:
            if min(self._tally.last_good) > ended:
                injected.back = time.monotonic() - ended
                return
            if self.is_over.is_set():
                injected.is_late = True
                return
            await asyncio.sleep(_LOOK_AGAIN_SECONDS)

    def _now(self) -> float:
        return time.monotonic() - self._began

    def _member(self, fault: Fault) -> Member:
        return self._fleet.members[fault.target]

    async def _kill(self, fault: Fault) -> None:
        member = self._member(fault)
        async with member.lock:
            await member.kill()
            await asyncio.sleep(fault.seconds)
            await member.restart()

    async def _stop(self, fault: Fault) -> None:
        member = self._member(fault)
        async with member.lock:
            await member.stop()
            await asyncio.sleep(fault.seconds)
            await member.restart()

    async def _freeze(self, fault: Fault) -> None:
        member = self._member(fault)
        async with member.lock:
            await _frozen(member, fault.seconds)

    @asynccontextmanager
    async def _link(self, fault: Fault) -> AsyncIterator[Link]:
        link = self._fleet.links[fault.target]
        async with link.lock:
            yield link

    async def _cut(self, fault: Fault) -> None:
        async with self._link(fault) as link:
            link.cut()

    async def _cut_replies(self, fault: Fault) -> None:
        async with self._link(fault) as link:
            link.is_mute = True
            await asyncio.sleep(fault.seconds)
            # What was dropped must not be followed by anything.
            link.cut()
            link.is_mute = False

    async def _delay(self, fault: Fault) -> None:
        async with self._link(fault) as link:
            link.delay = _LEAST_DELAY + fault.part * (_MOST_DELAY - _LEAST_DELAY)
            await asyncio.sleep(fault.seconds)
            link.delay = 0.0

    async def _silence(self, fault: Fault) -> None:
        async with self._link(fault) as link:
            link.fall_silent()
            await asyncio.sleep(fault.seconds)
            link.speak_again()

    async def _half_open(self, fault: Fault) -> None:
        await self._torn(fault, "server")

    async def _abandoned(self, fault: Fault) -> None:
        await self._torn(fault, "client")

    async def _torn(self, fault: Fault, party: Literal["client", "server"]) -> None:
        async with self._link(fault) as link:
            torn = link.tear(party)
            await asyncio.sleep(fault.seconds)
            link.cut(torn)

    async def _flush_scripts(self, _: Fault) -> None:
        await self._tell_valkey("SCRIPT", "FLUSH")

    async def _kill_clients(self, _: Fault) -> None:
        await self._tell_valkey("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")

    async def _tell_valkey(self, *words: str) -> None:
        async def tell() -> None:
            async with redis_server(self._fleet.environment) as redis:
                await redis.execute_command(*words)  # type: ignore[no-untyped-call]

        await _persistently(tell)

    async def _terminate_backends(self, _: Fault) -> None:
        async def tell() -> None:
            async with postgres(self._fleet.environment) as connection:
                await connection.execute(_SQL["terminate"])

        await _persistently(tell)

    async def _fill_disk(self, fault: Fault) -> None:
        """An edge that has next to no room, while the stream takes nothing."""
        edge, valkey = self._member(fault), self._fleet.members["Valkey"]
        async with edge.lock:
            usual = edge.kept
            await edge.stop()
            edge.kept = small = self._fleet.another(edge.name, _SMALL_SPOOL)
            await small.restart()
            await asyncio.sleep(_START_SECONDS)
            async with valkey.lock:
                await _frozen(valkey, fault.seconds)
            await edge.stop()
            edge.kept = usual
            await edge.restart()


async def _frozen(member: Member, seconds: float) -> None:
    try:
        member.signal(signal.SIGSTOP)
        await asyncio.sleep(seconds)
    finally:
        member.signal(signal.SIGCONT)


async def _persistently(action: Callable[[], Awaitable[Any]]) -> None:
    """The server may be down by another fault. Raises Unreachable after some time."""
    deadline = time.monotonic() + _TRY_SECONDS
    while True:
        try:
            await action()
        except Unreachable:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(_LOOK_AGAIN_SECONDS)
        else:
            return
