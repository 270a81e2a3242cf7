"""Makes rows: an envelope, the place it belongs to and what was found out of its client.

Pure; used by the pipeline.
"""

from typing import Final, NamedTuple

import msgspec
import orjson

from ingest.contracts import envelope as codec
from ingest.contracts.envelope import Envelope, Kind
from workers.batch import Delivery
from workers.enrich import Enrich, Enrichment
from workers.resolve import Resolution
from workers.rows import LAST_DIGEST, Row, moment

_NO_ENRICHMENT: Final = Enrichment()


class Sealed(NamedTuple):
    """A delivery and the envelope that was in it."""

    delivery: Delivery
    envelope: Envelope


def row_of(item: Sealed, place: Resolution, enrich: Enrich, *, keep_ip: bool) -> Row:
    """The row of one event; its address only where it is to be kept."""
    delivery, envelope = item
    is_click = envelope.kind is Kind.CLICK
    # A lead comes from somebody's server, whose agent and address tell nothing.
    seen = enrich(envelope) if is_click else _NO_ENRICHMENT
    return Row(
        id=envelope.id,
        at=moment(envelope.at),
        digest=LAST_DIGEST if envelope.is_erased else codec.digest(delivery.payload),
        kind=envelope.kind,
        is_test=envelope.is_test,
        is_bot=seen.is_bot,
        is_duplicate=envelope.is_duplicate,
        quantity=envelope.quantity,
        entry=delivery.entry,
        workspace_id=place.workspace_id,
        link_id=place.link_id,
        program_id=place.program_id,
        partner_id=place.partner_id,
        click_id=place.click_id,
        is_click_ours=place.is_click_ours,
        asked_program_id=place.asked_program_id,
        api_key_id=place.api_key_id,
        dialect=envelope.dialect,
        name=envelope.name,
        amount=envelope.amount,
        currency=envelope.currency,
        session=envelope.session,
        page_url=envelope.page_url,
        properties=_document(envelope),
        visitor=envelope.visitor,
        ip=envelope.ip if keep_ip else None,
        country=seen.country,
        region=seen.region,
        city=seen.city,
        device=seen.device,
        os=seen.os,
        browser=seen.browser,
        referrer_host=seen.referrer_host,
        failed=" ".join(seen.failed) or None,
        token=envelope.token,
        dedupe=envelope.dedupe,
        external_id=envelope.external_id,
        customer_name=envelope.customer_name,
        customer_email=envelope.customer_email,
        customer_avatar=envelope.customer_avatar,
    )


def _document(envelope: Envelope) -> str | None:
    properties = envelope.properties
    if not properties:
        return None
    try:
        return orjson.dumps(properties).decode()
    except orjson.JSONEncodeError:
        # An integer beyond 64 bits, which no edge seals, or too deep for it.
        return msgspec.json.encode(properties).decode()
