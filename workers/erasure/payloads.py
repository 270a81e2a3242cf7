"""Pseudonymizes stored payloads.

Envelopes are pseudonymized. Payloads that are not envelopes are blanked if they name an
erased person. Envelopes of a later release are left to workers that can read them, and
counted.
"""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial

from ingest.contracts import envelope as codec
from ingest.contracts.envelope import NewerVersion, Undecodable
from workers.erasure.pseudonyms import blank
from workers.erasure.suppression import Pair, Suppressions
from workers.model.batch import Delivery, Entry
from workers.postgres.database import Pool


@dataclass(frozen=True, slots=True)
class PseudonymizedPayload:
    """Replacements of some deliveries, by entry.

    `blanked` counts those that were not envelopes, `newer` envelopes of a later release.
    """

    found: Mapping[Entry, Delivery] = field(default_factory=dict)
    blanked: int = 0
    newer: int = 0

    def replacement(self, delivery: Delivery) -> Delivery:
        """The delivery itself, or its replacement."""
        return self.found.get(delivery.entry, delivery)


@dataclass(slots=True)
class _Classified:
    """Deliveries by what has to be done with them."""

    pairs: list[Pair] = field(default_factory=list)
    blanks: dict[Entry, Delivery] = field(default_factory=dict)
    newer: int = 0


async def pseudonymize_payloads(
    pool: Pool,
    suppressions: Suppressions,
    deliveries: Iterable[Delivery],
    *,
    is_arriving: bool = True,
) -> PseudonymizedPayload:
    """Replace the deliveries that name erased persons.

    Arriving deliveries have copies in Redis, which are listed for deletion. Raises
    TransientError.
    """
    await suppressions.ready(pool)
    if suppressions.is_empty:
        return PseudonymizedPayload()
    some = await asyncio.to_thread(partial(_classify, suppressions, deliveries))
    pairs = await suppressions.pseudonymize(pool, some.pairs, is_arriving=is_arriving)
    if some.blanks and is_arriving:
        await suppressions.note_leftovers(pool, some.blanks)
    found = {entry: delivery for entry, (delivery, _) in pairs.items()}
    return PseudonymizedPayload(found | some.blanks, len(some.blanks), some.newer)


def _classify(
    suppressions: Suppressions, deliveries: Iterable[Delivery]
) -> _Classified:
    some = _Classified()
    for delivery in deliveries:
        try:
            envelope = codec.decode(delivery.payload)
        except NewerVersion:
            some.newer += 1
        except Undecodable:
            left = blank(delivery.payload)
            if left != delivery.payload and suppressions.may_name(delivery.payload):
                blanked = Delivery(delivery.entry, left, delivery.times)
                some.blanks[delivery.entry] = blanked
        else:
            if suppressions.owner(envelope) is not None:
                some.pairs.append((delivery, envelope))
    return some
