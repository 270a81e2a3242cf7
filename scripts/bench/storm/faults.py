"""Which faults there are, a plan of them drawn from a seed, and who does them.

Families of faults take turns, so that a short storm has something of each; within a family
every fault comes before any comes twice.
"""

import asyncio
import random
import signal
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from inspect import isawaitable
from itertools import cycle, islice
from typing import Any, Final

from typing_extensions import override

from scripts.bench.environment.proxy import Link
from scripts.bench.environment.runs import tell
from scripts.bench.storm.client import Tally
from scripts.bench.storm.fleet import EDGES, LINKS, SERVERS, WORKERS, Fleet, Member
from scripts.errors import Unreachable
from scripts.servers import postgres, redis_server
from scripts.sql import statements

_SQL: Final = statements("bench/storm/storm")

#: In parts of the traffic: time to begin, and to come back before it ends.
_FIRST: Final = 0.06
_LAST: Final = 0.92
_LEAST_DELAY: Final = 0.02
_MOST_DELAY: Final = 0.3
#: A spool that is full after a few events.
_SMALL_SPOOL: Final = {"REFTIDE_SPOOL_BYTES": "8000"}
_START_SECONDS: Final = 2.0
_BACK_SECONDS: Final = 15.0
_LOOK_AGAIN_SECONDS: Final = 0.05
_TRY_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens to whom. `at` is a part of the traffic's length.

    `target` names a process, or, of a network fault, what a link joins and whose it is.
    `part` is between 0 and 1, for what else there is to choose.
    """

    at: float
    kind: str
    target: str
    seconds: float
    part: float = 0.0

    @override
    def __str__(self) -> str:
        lasting = f" for {self.seconds:.1f} s" if self.seconds else ""
        return f"{self.kind}: {self.target}{lasting}"


async def _tell_valkey(member: Member, *words: str) -> None:
    async with redis_server(member.fleet.environment) as redis:
        await redis.execute_command(*words)  # type: ignore[no-untyped-call]


async def _terminate_backends(member: Member) -> None:
    async with postgres(member.fleet.environment) as connection:
        await connection.execute(_SQL["terminate"])


async def _fill_disk(edge: Member) -> Any:
    """An edge that has next to no room, while the stream takes nothing."""
    usual, valkey = edge.kept, edge.fleet.members[SERVERS[0]]
    await edge.stop()
    edge.kept = edge.fleet.process(edge.name, _SMALL_SPOOL)
    await edge.restart()
    await asyncio.sleep(_START_SECONDS)
    await valkey.lock.acquire()
    valkey.signal(signal.SIGSTOP)
    return usual


async def _free_disk(edge: Member, usual: Any) -> None:
    valkey = edge.fleet.members[SERVERS[0]]
    valkey.signal(signal.SIGCONT)
    valkey.lock.release()
    await edge.stop()
    edge.kept = usual
    await edge.restart()


def _mute(link: Link) -> None:
    link.is_mute = True


def _unmute(link: Link) -> None:
    # What was dropped must not be followed by anything.
    link.cut()
    link.is_mute = False


def _delay(link: Link, fault: Fault) -> None:
    link.delay = _LEAST_DELAY + fault.part * (_MOST_DELAY - _LEAST_DELAY)


def _undelay(link: Link) -> None:
    link.delay = 0.0


#: Takes the target and the fault, and may be a coroutine's.
_Act = Callable[[Any, Fault], Any]
#: Takes the target and what acting gave.
_Heal = Callable[[Any, Any], Any]
_EVERYBODY: Final = (*EDGES, *WORKERS, *SERVERS)
_VALKEY, _POSTGRES = ((name,) for name in SERVERS)
_KILL_CLIENTS: Final = ("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")

#: Each fault: what it does, how that is undone, whom it meets, and how long it lasts, in
#: seconds; of a kill, until it is started again.
FAULTS: Final[Mapping[str, tuple[_Act, _Heal, Sequence[str], float, float]]] = {
    "kill": (lambda it, _: it.kill(), lambda it, _: it.restart(), _EVERYBODY, 0.0, 1.5),
    "stop": (
        lambda it, _: it.stop(),
        lambda it, _: it.restart(),
        (*EDGES, *WORKERS),
        *(0.0, 0.5),
    ),
    "freeze": (
        lambda it, _: it.signal(signal.SIGSTOP),
        lambda it, _: it.signal(signal.SIGCONT),
        _EVERYBODY,
        *(0.2, 3.0),
    ),
    "cut": (lambda it, _: it.cut(), lambda *_: None, LINKS, 0.0, 0.0),
    "cut replies": (
        lambda it, _: _mute(it),
        lambda it, _: _unmute(it),
        LINKS,
        0.1,
        1.5,
    ),
    "delay": (_delay, lambda it, _: _undelay(it), LINKS, 0.5, 3.0),
    "silence": (
        lambda it, _: it.fall_silent(),
        lambda it, _: it.speak_again(),
        LINKS,
        *(0.2, 3.0),
    ),
    "half open": (lambda it, _: it.tear("server"), Link.cut, LINKS, 0.5, 3.0),
    "abandoned": (lambda it, _: it.tear("client"), Link.cut, LINKS, 0.5, 3.0),
    "script flush": (
        lambda it, _: _tell_valkey(it, "SCRIPT", "FLUSH"),
        lambda *_: None,
        _VALKEY,
        *(0.0, 0.0),
    ),
    "client kill": (
        lambda it, _: _tell_valkey(it, *_KILL_CLIENTS),
        lambda *_: None,
        _VALKEY,
        *(0.0, 0.0),
    ),
    "terminate backends": (
        lambda it, _: _terminate_backends(it),
        lambda *_: None,
        _POSTGRES,
        *(0.0, 0.0),
    ),
    "full disk": (lambda it, _: _fill_disk(it), _free_disk, EDGES[:1], 1.0, 2.5),
}
NETWORK: Final = tuple(kind for kind, row in FAULTS.items() if row[2] is LINKS)
#: What is asked of a server, which may be down by another fault.
_ASKED: Final = frozenset({"script flush", "client kill", "terminate backends"})
_OTHERS: Final = (
    "script flush",
    "client kill",
    "terminate backends",
    "full disk",
    "stop",
)
_FAMILIES: Final = (("kill",), NETWORK, ("freeze",), ("kill",), NETWORK, _OTHERS)


def plan(seed: int, count: int) -> list[Fault]:
    """So many faults in the order of their time."""
    draw = random.Random(f"faults {seed}")  # noqa: S311 -- the same seed, the same storm
    span = (_LAST - _FIRST) / max(count, 1)
    faults = []
    for number, (kind, target) in enumerate(islice(_dealt(draw), count)):
        *_, least, most = FAULTS[kind]
        faults.append(
            Fault(
                at=_FIRST + span * (number + draw.random()),
                kind=kind,
                target=target,
                seconds=round(draw.uniform(least, most), 2),
                part=draw.random(),
            )
        )
    return faults


def _dealt(draw: random.Random) -> Iterator[tuple[str, str]]:
    decks = {
        kinds: _shuffled(
            draw, [(kind, one) for kind in kinds for one in FAULTS[kind][2]]
        )
        for kinds in _FAMILIES
    }
    for kinds in cycle(_FAMILIES):
        yield next(decks[kinds])


def _shuffled(
    draw: random.Random, family: Sequence[tuple[str, str]]
) -> Iterator[tuple[str, str]]:
    while True:
        yield from draw.sample(family, len(family))


@dataclass(slots=True)
class InjectedFault:
    """A fault that took place. Times are seconds since the traffic began.

    `back` is how long after its end both edges had accepted an event sent since; None
    where they had not, in time, or the traffic ended before.
    """

    fault: Fault
    back: float | None = None
    #: Not before the traffic was over, which says nothing of the edges.
    is_late: bool = False


class FaultInjector:
    """Faults at their time, each in a task of its own."""

    def __init__(self, fleet: Fleet, tally: Tally) -> None:
        self.injected: list[InjectedFault] = []
        self.is_over = asyncio.Event()
        self._fleet = fleet
        self._tally = tally

    async def run(self, faults: Sequence[Fault], seconds: float) -> None:
        """Return when all of them are over and undone; the traffic takes `seconds`."""
        began = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for fault in faults:
                await asyncio.sleep(began + fault.at * seconds - time.monotonic())
                group.create_task(self._inject(fault))

    async def _inject(self, fault: Fault) -> None:
        tell(str(fault))
        injected = InjectedFault(fault)
        self.injected.append(injected)
        act, heal, *_ = FAULTS[fault.kind]
        members, links = self._fleet.members, self._fleet.links
        target: Member | Link = members.get(fault.target) or links[fault.target]
        if fault.kind in _ASKED:
            await _persistently(partial(act, target, fault))
        else:
            async with target.lock:
                made = await _done(act(target, fault))
                try:
                    await asyncio.sleep(fault.seconds)
                finally:
                    await _done(heal(target, made))
        ended = time.monotonic()
        while time.monotonic() < ended + _BACK_SECONDS:
            if min(self._tally.last_good) > ended:
                injected.back = time.monotonic() - ended
                return
            if self.is_over.is_set():
                injected.is_late = True
                return
            await asyncio.sleep(_LOOK_AGAIN_SECONDS)


async def _done(what: Any) -> Any:
    return await what if isawaitable(what) else what


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
