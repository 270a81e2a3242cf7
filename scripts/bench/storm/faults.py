"""Which faults there are, a plan of them drawn from a seed, and who does them.

A fault breaks what must lose nothing by it; a loss takes from Valkey what it had acknowledged.
Families of faults take turns, so that a short storm has something of each; within a family
every fault comes before any comes twice.
"""

import asyncio
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from inspect import isawaitable
from itertools import cycle, islice
from typing import Any, Final, NamedTuple

from typing_extensions import override

from scripts.bench.environment.proxy import Link
from scripts.bench.environment.runs import tell
from scripts.bench.storm.client import Tally
from scripts.bench.storm.fleet import EDGES, LINKS, SERVERS, WORKERS, Fleet, Member
from scripts.servers import postgres, redis_server
from scripts.sql import statements

_SQL: Final = statements("bench/storm/storm")

#: In parts of the traffic: time to begin, and to come back before it ends.
_FIRST: Final = 0.06
_LAST: Final = 0.92
#: A spool that is full after a few events.
_SMALL_SPOOL: Final = {"REFTIDE_SPOOL_BYTES": "8000"}
_CUT_BYTES: Final = 40_000
_START_SECONDS: Final = 2.0
_BACK_SECONDS: Final = 15.0
_LOOK_AGAIN_SECONDS: Final = 0.05


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens to whom. `at` is a part of the traffic's length.

    `target` names a process, or, of a network fault, what a link joins and whose it is.
    """

    at: float
    kind: str
    target: str
    seconds: float

    @override
    def __str__(self) -> str:
        lasting = f" for {self.seconds:.1f} s" if self.seconds else ""
        return f"{self.kind}: {self.target}{lasting}"


async def _flush_scripts(valkey: Member) -> None:
    await _tell(valkey, "SCRIPT", "FLUSH")


async def _kill_clients(valkey: Member) -> None:
    await _tell(valkey, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")


async def _tell(valkey: Member, *words: str) -> None:
    async with redis_server(valkey.fleet.environment) as redis:
        await redis.execute_command(*words)  # type: ignore[no-untyped-call]


async def _end_sessions(database: Member) -> None:
    async with postgres(database.fleet.environment) as connection:
        await connection.execute(_SQL["terminate"])


async def _fill_disk(edge: Member) -> None:
    """An edge that has next to no room, while the stream takes nothing."""
    await edge.replace(_SMALL_SPOOL)
    await asyncio.sleep(_START_SECONDS)
    valkey = edge.fleet.members[SERVERS[0]]
    await valkey.lock.acquire()
    valkey.freeze()


async def _free_disk(edge: Member) -> None:
    valkey = edge.fleet.members[SERVERS[0]]
    valkey.thaw()
    valkey.lock.release()
    await edge.replace({})


async def _cut_file(valkey: Member) -> None:
    await valkey.kill()
    valkey.fleet.file.cut(_CUT_BYTES)


def _cut_replica_off(valkey: Member) -> None:
    valkey.fleet.file.remember()


async def _promote_replica(valkey: Member) -> None:
    """The primary is lost; what takes its place has what the replica had."""
    await valkey.kill()
    valkey.fleet.file.forget()
    await _restart_with_less(valkey)


async def _restart_with_less(valkey: Member) -> None:
    await valkey.restart()
    async with redis_server(valkey.fleet.environment) as redis:
        valkey.fleet.lost += await valkey.fleet.file.lost_entries(redis)


def _nothing(_: object) -> None:
    pass


class Row(NamedTuple):
    """What a fault does and how that is undone, whom it meets, and for how many seconds.

    Both take the process or the link, and may be coroutines'.
    """

    act: Callable[[Any], object]
    heal: Callable[[Any], object]
    targets: Sequence[str]
    least: float = 0.0
    most: float = 0.0


_OURS: Final = (*EDGES, *WORKERS)
_ALL: Final = (*_OURS, *SERVERS)
FAULTS: Final[Mapping[str, Row]] = {
    "kill": Row(Member.kill, Member.restart, _ALL, 0.0, 1.5),
    "stop": Row(Member.stop, Member.restart, _OURS, 0.0, 0.5),
    "freeze": Row(Member.freeze, Member.thaw, _ALL, 0.2, 3.0),
    "cut": Row(Link.cut, _nothing, LINKS),
    "cut replies": Row(Link.mute, Link.unmute, LINKS, 0.1, 1.5),
    "delay": Row(Link.lag, Link.catch_up, LINKS, 0.5, 3.0),
    "silence": Row(Link.fall_silent, Link.speak_again, LINKS, 0.2, 3.0),
    "half open": Row(Link.tear_servers, Link.cut, LINKS, 0.5, 3.0),
    "abandoned": Row(Link.tear_clients, Link.cut, LINKS, 0.5, 3.0),
    "script flush": Row(_flush_scripts, _nothing, SERVERS[:1]),
    "client kill": Row(_kill_clients, _nothing, SERVERS[:1]),
    "terminate backends": Row(_end_sessions, _nothing, SERVERS[1:]),
    "full disk": Row(_fill_disk, _free_disk, EDGES[:1], 1.0, 2.5),
}
#: Of these the ledger has to tell.
LOSSES: Final[Mapping[str, Row]] = {
    "cut file": Row(_cut_file, _restart_with_less, SERVERS[:1], 0.0, 1.5),
    "lost primary": Row(_cut_replica_off, _promote_replica, SERVERS[:1], 0.1, 2.0),
}
NETWORK: Final = tuple(kind for kind, row in FAULTS.items() if row.targets is LINKS)
_REST: Final = tuple(
    kind for kind in FAULTS if kind not in {"kill", "freeze", *NETWORK}
)
_ROWS: Final = {**FAULTS, **LOSSES}
_FAMILIES: Final = (("kill",), NETWORK, ("freeze",), ("kill",), NETWORK, _REST)


def plan(seed: int, count: int, losses: int = 0) -> list[Fault]:
    """So many faults and losses in the order of their time."""
    faults = _drawn(f"faults {seed}", count, _FAMILIES)
    lost = _drawn(f"losses {seed}", losses, (tuple(LOSSES),))
    return sorted([*faults, *lost], key=lambda fault: fault.at)


def _drawn(seed: str, count: int, families: Sequence[Sequence[str]]) -> Iterator[Fault]:
    draw = random.Random(seed)  # noqa: S311 -- the same seed, the same storm
    span = (_LAST - _FIRST) / max(count, 1)
    for number, (kind, target) in enumerate(islice(_dealt(draw, families), count)):
        at = _FIRST + span * (number + draw.random())
        row = _ROWS[kind]
        yield Fault(at, kind, target, round(draw.uniform(row.least, row.most), 2))


def _dealt(
    draw: random.Random, families: Sequence[Sequence[str]]
) -> Iterator[tuple[str, str]]:
    decks = {kinds: _shuffled(draw, kinds) for kinds in families}
    for kinds in cycle(families):
        yield next(decks[kinds])


def _shuffled(draw: random.Random, kinds: Sequence[str]) -> Iterator[tuple[str, str]]:
    deck = [(kind, target) for kind in kinds for target in _ROWS[kind].targets]
    while True:
        yield from draw.sample(deck, len(deck))


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
        row, fleet = _ROWS[fault.kind], self._fleet
        target: Any = fleet.members.get(fault.target) or fleet.links[fault.target]
        # The holder of the lock meets what no other fault has broken.
        async with target.lock:
            await _done(row.act(target))
            try:
                await asyncio.sleep(fault.seconds)
            finally:
                await _done(row.heal(target))
        ended = time.monotonic()
        while time.monotonic() < ended + _BACK_SECONDS:
            if min(self._tally.last_good) > ended:
                injected.back = time.monotonic() - ended
                return
            if self.is_over.is_set():
                injected.is_late = True
                return
            await asyncio.sleep(_LOOK_AGAIN_SECONDS)


async def _done(what: object) -> None:
    if isawaitable(what):
        await what
