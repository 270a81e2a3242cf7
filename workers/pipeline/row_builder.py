"""Makes rows: an envelope, the place it belongs to and what was found out of its client.

Pure; used by the pipeline.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from ingest.contracts import envelope as codec
from ingest.contracts.envelope import CLICK, NO_PROPERTIES, Envelope
from workers.enrich import Enrich, Enrichment
from workers.model.batch import Delivery, Entry
from workers.model.rows import LAST_DIGEST, Row, timestamp
from workers.quarantine.quarantine import RejectedEntry
from workers.resolve.resolver import Resolution

_NO_ENRICHMENT: Final = Enrichment()


class Decoded(msgspec.Struct, frozen=True, gc=False):
    """A delivery and the envelope that was in it."""

    delivery: Delivery
    envelope: Envelope


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodedBatch:
    """What was in some deliveries.

    `newer` are entries of a later release; `version` is of the list of suppressions under
    which the envelopes are what they are.
    """

    sealed: Sequence[Decoded] = ()
    culprits: Sequence[RejectedEntry] = ()
    newer: frozenset[Entry] = frozenset()
    version: int


def row_of(item: Decoded, place: Resolution, enrich: Enrich, *, keep_ip: bool) -> Row:
    """The row of one event; its address only where it is to be kept."""
    delivery, envelope = item.delivery, item.envelope
    is_click = envelope.kind is CLICK
    # A lead comes from somebody's server, whose agent and address tell nothing.
    seen = enrich(envelope) if is_click else _NO_ENRICHMENT
    return Row(
        delivery.entry,
        envelope.id,
        timestamp(envelope.at),
        LAST_DIGEST if envelope.is_erased else codec.digest(delivery.payload),
        envelope.kind,
        envelope.is_test,
        seen.is_bot,
        envelope.is_duplicate,
        envelope.quantity,
        place.workspace_id,
        place.link_id,
        place.program_id,
        place.partner_id,
        place.click_id,
        None,  # who leads are of is found out when they are written
        envelope.amount,
        envelope.currency,
        envelope.dialect,
        place.asked_program_id,
        place.api_key_id,
        envelope.name,
        envelope.session,
        envelope.page_url,
        _document(envelope.properties),
        envelope.visitor,
        envelope.ip if keep_ip else None,
        seen.country,
        seen.region,
        seen.city,
        seen.device,
        seen.os,
        seen.browser,
        seen.referrer_host,
        seen.failed or None,
        envelope.token,
        envelope.dedupe,
        envelope.external_id,
        envelope.customer_name,
        envelope.customer_email,
        envelope.customer_avatar,
        place.is_click_ours,
    )


def _document(properties: msgspec.Raw) -> str | None:
    return None if properties == NO_PROPERTIES else str(properties, "utf-8")
