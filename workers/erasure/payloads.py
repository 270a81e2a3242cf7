"""Payloads as they stand somewhere, most of them nobody's who was erased.

Used by what goes through a whole archive, spool or stream.
"""

import asyncio
from collections.abc import Iterable, Iterator, Mapping

from ingest.contracts import envelope as codec
from ingest.contracts.envelope import Envelope, NewerVersion, Undecodable
from workers.batch import Delivery, Entry
from workers.database import Pool
from workers.erasure.suppressing import Pair, Suppressions


async def veiled(
    pool: Pool,
    suppressions: Suppressions,
    deliveries: Iterable[Delivery],
    *,
    is_arriving: bool = True,
) -> Mapping[Entry, Pair]:
    """What is to stand in the place of some of these. Raises Trouble."""
    if suppressions.version is None:
        await suppressions.refresh(pool)
    if suppressions.is_empty:
        return {}
    pairs = await asyncio.to_thread(lambda: [*_suspects(suppressions, deliveries)])
    return await suppressions.veil(pool, pairs, is_arriving=is_arriving)


def decoded(payload: bytes) -> Envelope | None:
    """The envelope, where these bytes are one that we know."""
    try:
        return codec.decode(payload)
    except (Undecodable, NewerVersion):
        return None


def _suspects(
    suppressions: Suppressions, deliveries: Iterable[Delivery]
) -> Iterator[Pair]:
    for delivery in deliveries:
        if not suppressions.may_concern(delivery.payload):
            continue
        envelope = decoded(delivery.payload)
        if envelope is not None and suppressions.owner(envelope) is not None:
            yield delivery, envelope
