"""Makes rows of an envelope, the place it belongs to, and its client's enrichment. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from ingest.contracts.encoding import envelopes as encoding
from ingest.contracts.envelope import CLICK, Envelope, Kind
from workers.enrich import Enrich
from workers.model.batch import Delivery, Entry, Reason, RejectedEntry
from workers.model.emails import EmailStore
from workers.model.enrichment import Enrichment
from workers.model.rows import (
    LAST_DIGEST,
    EventFacts,
    Rank,
    Resolution,
    Row,
    timestamp,
)

_NO_ENRICHMENT: Final = Enrichment()


class Decoded(msgspec.Struct, frozen=True, gc=False):
    """A delivery and the envelope that was in it."""

    delivery: Delivery
    envelope: Envelope

    def rejected(self, reason: Reason, detail: str) -> RejectedEntry:
        """The entry of quarantine, if it cannot be recorded for this reason."""
        return RejectedEntry(self.delivery, self.envelope, reason=reason, detail=detail)


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodedBatch:
    """What was in some deliveries.

    `newer` are entries of a later release; `version` is of the list of suppressions under
    which the envelopes are what they are.
    """

    sealed: Sequence[Decoded] = ()
    rejections: Sequence[RejectedEntry] = ()
    newer: frozenset[Entry] = frozenset()
    version: int


def row_of(
    item: Decoded,
    place: Resolution,
    enrich: Enrich,
    *,
    emails: EmailStore,
    keep_ip: bool,
) -> Row:
    """The row of one event; its addresses as they are to be kept."""
    delivery, envelope = item.delivery, item.envelope
    is_click = envelope.kind is CLICK
    if not is_click:
        envelope = emails.kept(envelope)
    # What a refund takes back of its sale is known when both are recorded.
    is_settled = envelope.kind is not Kind.REFUND
    # A lead comes from somebody's server, whose agent and address tell nothing.
    found = enrich(envelope.client) if is_click else _NO_ENRICHMENT
    digest = (
        LAST_DIGEST
        if envelope.customer.is_erased
        else encoding.digest(delivery.payload)
    )
    return Row(
        entry=delivery.entry,
        rank=Rank(
            is_keyless=place.api_key_id is None,
            at=timestamp(envelope.request.at),
            id=envelope.id,
            digest=digest,
        ),
        event=EventFacts(
            kind=envelope.kind,
            quantity=envelope.details.quantity if is_settled else 0,
            is_test=envelope.request.is_test,
            is_bot=found.agent.is_bot or envelope.click.purpose is not None,
            is_duplicate=envelope.click.is_duplicate,
            amount=envelope.details.amount if is_settled else None,
            currency=envelope.details.currency,
        ),
        place=place,
        envelope=envelope,
        enrichment=found,
        ip=envelope.client.ip if keep_ip else None,
    )
