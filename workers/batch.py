"""What the consumer reads and the pipeline takes. Values only; every stage may import it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol


class Entry(NamedTuple):
    """Where an entry stands: in this life of this shard's stream, under this id."""

    epoch: int
    shard: int
    ms: int
    seq: int


@dataclass(frozen=True, slots=True)
class Delivery:
    """One entry as it was delivered; `attempts` counts deliveries, this one included."""

    entry: Entry
    payload: bytes
    attempts: int = 1


#: The steps between which a worker may die; tests name one and the worker obeys.
Boundary = Literal["read", "resolved", "enriched", "written", "committed"]


class Trouble(Exception):
    """Infrastructure does not answer: keep the batch, back off, try again."""


class Processor(Protocol):
    """What a consumer does with what it reads."""

    async def process(self, deliveries: Sequence[Delivery]) -> Sequence[Delivery]:
        """Record or quarantine; give back the deliveries that may be acknowledged.

        A delivery that is not given back stays pending (an envelope of a later release).
        Raises Trouble when nothing was settled and the batch has to be tried again.
        """
        ...
