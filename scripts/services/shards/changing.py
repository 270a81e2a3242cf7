"""Another number of shards, or another place of them.

1. A note in Redis says what is under way.
2. The shards that will not be are sealed: no append gets in any more, and what is in them is
   recorded. Edges append to the other shards, or to their disks. A replica that lacks the seal
   may take the place of its primary: so they are sealed again and again until step 5, and
   replicas that are connected have to confirm it.
3. When every group has acknowledged what was in them, the ledger has their last figures.
4. The shards to be are unsealed, and `SHARDS_KEY` says them.
5. What the sealed shards keep is deleted; servers of a list know their new places; then the note
   is deleted.

Each step may be done again, so a process that dies leaves nothing but the same command to do.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from ingest.contracts.placement.change import ChangeNote
from ingest.contracts.placement.layout import described
from ingest.contracts.stream import SHARDS_KEY
from scripts.errors import UsageProblem
from scripts.servers import Connection
from scripts.services.observe.streams import read_shard
from scripts.services.shards import checks, noting
from scripts.services.shards.leftovers import left_sealed
from scripts.services.shards.placing import place
from scripts.services.shards.sealing import (
    clear,
    is_sealed,
    seal,
    unconfirmed,
    unseal_all,
)
from scripts.services.shards.sides import Record, Side
from scripts.sql import statements
from workers.stream.epochs import count_losses, sample

Step = Literal[
    "noted", "sealed a shard", "sealed", "drained", "counted", "opened", "agreed",
    "cleared a shard", "cleared", "placed",
]  # fmt: skip
Boundary = Callable[[Step], None]

_SQL: Final = statements("services/shards/changing")
_POLL_SECONDS: Final = 0.2
#: How long a replica has to confirm a seal until it is asked again.
_CONFIRM_MS: Final = 1_000


@dataclass(frozen=True, slots=True)
class Change:
    """From the shards that are to those that are to be."""

    present: Side
    target: Side
    record: Record

    @property
    def is_none(self) -> bool:
        """Whether all is as it is to be, and nothing is under way."""
        is_same = self.target.layout == self.present.layout
        is_there = self.target.is_beside(self.present)
        return is_same and is_there and self.record.change is None

    @property
    def is_back(self) -> bool:
        """Whether it takes back one that is under way."""
        is_begun = self.record.change is not None and not self.record.is_agreed
        is_same = self.target.layout == self.present.layout
        return is_begun and is_same and self.target.is_beside(self.present)

    @property
    def sealed(self) -> Sequence[int]:
        """The shards that will not be where they are."""
        numbers = self.present.layout.numbers
        if not self.target.is_beside(self.present):
            return numbers
        return [each for each in numbers if each not in self.target.layout.numbers]

    def require_same(self) -> None:
        """Raises UsageProblem if another change is under way."""
        note, wanted = self.record.change, self.target.layout.record.decode()
        if note is None or note.to == wanted or self.is_back:
            return
        was, will = (described(each.encode()) for each in (note.from_, note.to))
        way = "" if self.record.is_agreed else f"; or take it back with {self.way_back}"
        raise UsageProblem(
            f"A change from {was} to {will} is under way.",
            f"end it first with the command that began it{way}.",
        )

    @property
    def way_back(self) -> str:
        """The options that take the change back."""
        return f"--to {len(self.present.layout.numbers)}"


async def plan(
    change: Change, connection: Connection, *, has_them_dropped: bool
) -> dict[str, Any]:
    """What there is to do. Raises a Failure where it must not be begun."""
    change.require_same()
    redis, shards = change.present.redis, change.sealed
    waiting = await checks.in_flight(redis, shards)
    kept = sum([(await read_shard(redis, shard)).length for shard in shards])
    is_to_begin = not (change.is_none or change.is_back or change.record.is_agreed)
    if is_to_begin:
        await checks.require_current(redis)
        await checks.require_recording(connection, change.present, waiting)
        await checks.require_archive(redis, kept, has_them_dropped=has_them_dropped)
    is_elsewhere = not change.target.is_beside(change.present)
    if is_to_begin and is_elsewhere and change.record.change is None:
        await checks.require_room(change.present, change.target)
    was, will = (each.layout.record for each in (change.present, change.target))
    return {
        "from": described(was),
        "to": described(will),
        "shards": [*change.target.layout.numbers],
        "sealed": [] if change.is_none or change.is_back else [*shards],
        "opened": await _left(change),
        "in_flight": sum(waiting.values()),
        "kept": kept,
        "settings": {"REFTIDE_SHARDS": str(len(change.target.layout.numbers))},
    }


async def _left(change: Change) -> list[int]:
    if not change.is_none:
        return []
    return await left_sealed(change.present.redis, change.present.layout.numbers)


class Changer:
    """Does what there is to do."""

    def __init__(
        self,
        change: Change,
        connection: Connection,
        say: Callable[[str], None],
        boundary: Boundary = lambda _: None,
    ) -> None:
        """`say` how far it is; `boundary` is called behind each step."""
        self._change = change
        self._present, self._target = change.present, change.target
        self._connection = connection
        self._say = say
        self._reached = boundary
        self._noted = change.record.change

    @property
    def _is_agreed(self) -> bool:
        return self._noted is not None and self._noted.is_agreed

    async def take_back(self) -> None:
        """Let all shards take events again, and forget the change.

        Raises UsageProblem where it was agreed on, or ended, meanwhile.
        """
        await _open(self._present)
        if not await noting.forget(self._present.redis, self._noted):
            raise noting.gone()
        # A command that still runs seals shards until it finds no note.
        await _open(self._present)

    async def run(self, now: float, wait: float) -> int:
        """Change them; how many entries were deleted.

        `now` in Unix seconds. Raises a Failure if shards are not drained after `wait` seconds.
        """
        if not self._is_agreed:
            begun = await self._begin(now)
            await self._empty(self._change.sealed, wait)
            await self._count()
            await self._agree(begun)
        removed, shards, opened = 0, await self._leaving(), 1
        while opened:
            await self._empty(shards, wait)
            removed += await self._clear(shards)
            opened = await self._seal(shards)
        # Not before: workers with the former list record what a fail-over let in.
        await place(self._target)
        self._reached("placed")
        # A fail-over may have sealed them again.
        await _open(self._target)
        await noting.forget(self._present.redis, self._noted)
        return removed

    async def _begin(self, now: float) -> ChangeNote:
        """Say what is under way."""
        was, will = (each.layout.record for each in (self._present, self._target))
        note = ChangeNote(from_=was.decode(), to=will.decode(), since=now)
        begun = self._noted = await noting.begin(self._present.redis, note)
        self._reached("noted")
        return begun

    async def _empty(self, shards: Sequence[int], wait: float) -> None:
        """Seal shards, and return once all that is in them is recorded.

        Raises a Failure after so many seconds.
        """
        redis, loop = self._present.redis, asyncio.get_running_loop()
        deadline, said = loop.time() + wait, 0
        # Not known at first: a command before this one may have sealed them, and been stopped.
        lacking: list[str] | None = None
        while True:
            if await self._seal(shards) or lacking != []:
                lacking = await unconfirmed(redis, shards, _CONFIRM_MS)
            waiting = await checks.in_flight(redis, shards)
            if not (waiting or lacking):
                break
            if loop.time() > deadline:
                raise checks.not_empty(waiting, lacking, wait, self._way_out)
            await checks.require_recording(self._connection, self._present, waiting)
            if waiting and (count := sum(waiting.values())) != said:
                self._say(f"{count:,} entries wait in shards {_listed(waiting)}.")
                said = count
            await asyncio.sleep(_POLL_SECONDS)
        self._reached("drained")

    @property
    def _way_out(self) -> str:
        """What else can be done than to go on."""
        if self._is_agreed:
            return "the new shards are agreed on."
        return f"`reftide shards {self._change.way_back}` takes the change back."

    async def _leaving(self) -> Sequence[int]:
        """Shards of the present side whose stream is not also one of the target's."""
        change = self._change
        return [
            shard
            for shard in change.sealed
            if await checks.replaced(change.present, change.target, shard)
        ]

    async def _seal(self, shards: Sequence[int]) -> int:
        """How many took events before. Raises UsageProblem where the change is not ours any more."""
        new: list[int] = []
        await self._require_note()
        for shard in shards:
            if await seal(self._present.redis, shard):
                new.append(shard)
            self._reached("sealed a shard")
        if new:
            await self._require_note(sealed=new)
            self._say(
                f"{len(new)} shards take no more events; workers record what they have."
            )
        self._reached("sealed")
        return len(new)

    async def _require_note(self, sealed: Sequence[int] = ()) -> None:
        """Raises UsageProblem without our note, and then opens what was `sealed` again.

        Whoever took the change back may have opened these before we sealed them.
        """
        if await noting.is_there(self._present.redis, self._noted):
            return
        await unseal_all(self._present.redis, sealed)
        raise noting.gone()

    async def _count(self) -> None:
        """Have the ledger know how many entries the sealed shards ever had."""
        for job, work in (("sample_epochs", sample), ("count_losses", count_losses)):
            async with self._connection.transaction():
                await self._connection.execute(_SQL["lock"], job)
                numbers = self._present.layout.numbers
                await work(self._connection, self._present.redis, numbers)
        self._reached("counted")

    async def _agree(self, begun: ChangeNote) -> None:
        await _open(self._target)
        self._reached("opened")
        self._noted = await noting.agree(self._present.redis, begun)
        self._say(f"{SHARDS_KEY} says {described(self._target.layout.record)}.")
        self._reached("agreed")

    async def _clear(self, shards: Sequence[int]) -> int:
        removed = 0
        for shard in shards:
            stream = await read_shard(self._present.redis, shard)
            if is_sealed(stream):
                removed += await clear(self._present.redis, shard)
                self._reached("cleared a shard")
        self._reached("cleared")
        return removed


async def _open(side: Side) -> None:
    await unseal_all(side.redis, side.layout.numbers)


def _listed(shards: Sequence[int] | dict[int, int]) -> str:
    return ", ".join(map(str, shards))
