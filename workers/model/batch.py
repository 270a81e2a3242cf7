"""What the consumer reads and the pipeline takes. Values only; every stage may import it."""

from collections.abc import Sequence
from typing import Final, Literal, NamedTuple, Protocol, Self

import msgspec

_UNSIGNED: Final = 1 << 64
_SIGNED_END: Final = 1 << 63


class Entry(NamedTuple):
    """Where an entry stands: in this life of this shard's stream, under this id.

    The numbers of an id are as Postgres holds them. Redis' have no sign, so that the upper
    half of them, which only a foreign hand can have written, is negative here.
    """

    epoch: int
    shard: int
    ms: int
    seq: int

    @classmethod
    def of(cls, epoch: int, shard: int, ms: int, seq: int) -> Self:
        """The entry of a stream's id."""
        return cls(epoch, shard, _signed(ms), _signed(seq))

    @property
    def stream_id(self) -> str:
        """The id by which Redis knows it."""
        return f"{self.ms % _UNSIGNED}-{self.seq % _UNSIGNED}"


class Delivery(msgspec.Struct, frozen=True, gc=False):
    """One entry as it was delivered, for the how manieth time as far as is known."""

    entry: Entry
    payload: bytes
    times: int = 1


def _signed(number: int) -> int:
    return number if number < _SIGNED_END else number - _UNSIGNED


#: The steps between which a worker may die; tests name one and the worker obeys.
Boundary = Literal["read", "resolved", "enriched", "written", "committed"]
#: Likewise of archiving: entries are in a segment under way; it is finished, not acknowledged.
#: Then it is in an object store, and nobody has noted that.
ArchiveBoundary = Literal["collected", "archived", "uploaded"]


class TransientError(Exception):
    """Infrastructure does not answer: keep the batch, back off, try again."""


#: Why nothing is recorded until somebody has looked: `pause_cause` of schema.sql.
Cause = Literal["bug", "culprits"]


class PausedError(Exception):
    """Nobody may record until an operator has looked; the entries stay where they are."""

    def __init__(self, cause: Cause, detail: str) -> None:
        """`detail` is for the operator."""
        super().__init__(detail)
        self.cause: Cause = cause
        self.detail = detail


class Processor(Protocol):
    """What a consumer does with what it reads."""

    async def process(self, deliveries: Sequence[Delivery]) -> Sequence[Delivery]:
        """Record or quarantine; give back the deliveries that may be acknowledged.

        A delivery that is not given back stays pending (an envelope of a later release).
        Raises TransientError where the whole batch has to be tried again, PausedError where that needs an
        operator first.
        """
        ...


class Recorder(Processor, Protocol):
    """A processor that can also give an entry up."""

    async def give_up(self, delivery: Delivery, detail: str) -> None:
        """Put an entry into quarantine that workers died of. Raises TransientError, PausedError."""
        ...
