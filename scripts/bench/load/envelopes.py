"""Envelopes as the edge seals them, without HTTP.

Parsing and sealing are the edge's own; the link is the one the directory would have found.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Final
from uuid import UUID

from ingest.contracts.directory import LinkRecord
from ingest.contracts.envelope import Envelope
from ingest.core.authorize import Principal
from ingest.core.resolved import Resolved
from ingest.core.seal import Facts, seal, visitor_hash, visitor_key
from ingest.dialects.affitor import AFFITOR
from ingest.dialects.spec import Endpoint, RawRequest
from scripts.bench.load.traffic import address, bodies

_CLICK: Final = next(
    route for route in AFFITOR.endpoints if isinstance(route, Endpoint)
)
_VISITOR_KEY: Final = visitor_key(b"of a measurement")


def envelopes(
    links: Sequence[LinkRecord],
    count: int,
    *,
    clock: Callable[[], int],
    new_id: Callable[[], UUID],
) -> Iterator[Envelope]:
    """So many clicks of as many visitors; `clock` gives Unix milliseconds."""
    sent = bodies([link.code for link in links])
    for number in range(count):
        place = number % len(sent)
        raw = RawRequest(
            headers={"content-type": "application/json"},
            body=sent[place],
            ip=address(number),
        )
        yield _sealed(raw, links[place % len(links)], clock(), new_id())


def _sealed(raw: RawRequest, link: LinkRecord, at: int, event_id: UUID) -> Envelope:
    (draft,) = _CLICK.parse(raw)
    facts = Facts(
        event_id=event_id,
        dialect=AFFITOR.name,
        at=at,
        principal=Principal(),
        resolved=Resolved(link=link, link_id=link.link_uuid),
        root=None,
        dedupe=None,
        visitor=visitor_hash(_VISITOR_KEY, raw, draft),
    )
    return seal(draft, raw, facts, "truncated")
