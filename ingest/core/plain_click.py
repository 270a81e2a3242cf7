"""Plain clicks: from the body to the sealed event in one call, without waiting.

A click is plain if its route wants no key and has no limits, its link is in memory, nothing
is switched off, and it carries no click id, fingerprint or idempotency key: nearly all
clicks of trackers. Between the draft and the envelope of such a click no value is needed
that `accept` makes for others. Every other request takes that path; both say the same of a
plain click, byte for byte, and a property test holds them together.
"""

from typing import Final, NamedTuple
from uuid import UUID

import orjson

from ingest.contracts.directory import SWITCHES_KEY, LinkRecord
from ingest.contracts.envelope import (
    CLICK,
    NO_CLICK,
    Click,
    Envelope,
    Request,
    Target,
    encode,
)
from ingest.contracts.storable import NAME_CHARS, optional_text
from ingest.core.accept import Acceptor
from ingest.core.resolve import anywhere
from ingest.core.seal import client_of, details_of, visitor_hash
from ingest.core.values import Missing
from ingest.dialects.spec import (
    ByCode,
    Dialect,
    Draft,
    Endpoint,
    Outcome,
    Query,
    RawRequest,
    Refusal,
)

_LINKS_KEPT: Final = 50_000
#: The first 48 of the 128 bits of a UUIDv7 are its time.
_MILLIS_SHIFT: Final = 128 - 48
#: Stands for the click id in the answer that all plain clicks of a link share.
_HOLE: Final = "{click id}"


class SealedClick(NamedTuple):
    """An event to be appended, and what its client is told once it is durable."""

    event_id: UUID
    payload: bytes
    #: The JSON of the answer.
    body: bytes


class _Shared(NamedTuple):
    """What all plain clicks of one link have in common."""

    link: LinkRecord
    target: Target
    #: The answer before and behind the click id.
    before: bytes
    behind: bytes


class PlainClicks:
    """Takes the plain clicks of one route."""

    def __init__(
        self, acceptor: Acceptor, dialect: Dialect, endpoint: Endpoint
    ) -> None:
        self._acceptor = acceptor
        self._endpoint = endpoint
        self._name = dialect.name
        self._recall = acceptor.resolver.links.recall
        self._keys = acceptor.outcomes.keys
        self._shared: dict[UUID, _Shared] = {}

    def take(self, raw: RawRequest) -> SealedClick | None:
        """The event of a request; None: it is for `Acceptor.accept` to take or refuse."""
        switches = self._recall(SWITCHES_KEY)
        is_off = switches is None or (switches is not Missing.UNKNOWN and switches.off)
        if is_off or "idempotency-key" in raw.headers:
            return None
        try:
            (draft,) = self._endpoint.parse(raw)
        except Refusal:
            return None
        shared = self._shared_by(draft)
        return None if shared is None else self._seal(draft, raw, shared)

    def _shared_by(self, draft: Draft) -> _Shared | None:
        """What the click's link gives to all its clicks; None: the click is not plain."""
        target = draft.target
        if (
            type(target) is not ByCode
            or target.among != "anywhere"
            or draft.kind is not CLICK
            or draft.is_test
            or draft.existing_click is not None
            or draft.fingerprint is not None
            or draft.dedupe is not None
        ):
            return None
        link = self._recall((*anywhere(target.domain), target.code))
        if type(link) is not LinkRecord:
            return None
        shared = self._shared.get(link.link_uuid)
        if shared is None or shared.link is not link:
            shared = self._share(draft, link)
        return shared

    def _seal(self, draft: Draft, raw: RawRequest, shared: _Shared) -> SealedClick:
        acceptor, event_id = self._acceptor, self._acceptor.new_id()
        session = draft.session
        visitor = visitor_hash(acceptor.visitors.visitor_key, raw, draft)
        envelope = Envelope(
            id=event_id,
            kind=CLICK,
            request=Request(
                dialect=self._name,
                # When the id was minted, in Unix milliseconds.
                at=event_id.int >> _MILLIS_SHIFT,
                workspace_id=shared.link.workspace_uuid,
            ),
            target=shared.target,
            click=(
                Click(session=optional_text(session, NAME_CHARS))
                if session
                else NO_CLICK
            ),
            client=client_of(draft, raw, visitor, acceptor.store_ip),
            details=details_of(draft),
        )
        token = self._keys.issue(event_id, shared.link.link_uuid).encode()
        return SealedClick(
            event_id, encode(envelope), shared.before + token + shared.behind
        )

    def _share(self, draft: Draft, link: LinkRecord) -> _Shared | None:
        """What the clicks of a link share; None where its clicks are not plain."""
        if not link.is_active or link.is_provisional:
            return None
        if self._endpoint.needs_partner and not (
            link.program_uuid and link.partner_uuid
        ):
            return None
        outcome = Outcome(draft, link.link_uuid, click_token=_HOLE, link=link)
        reply = self._endpoint.answer(outcome)
        before, hole, behind = orjson.dumps(reply.body).partition(_HOLE.encode())
        if not hole or reply.status != 200 or reply.headers:  # noqa: PLR2004 -- HTTP
            return None
        if len(self._shared) >= _LINKS_KEPT:
            self._shared.clear()
        shared = _Shared(link, Target(link_id=link.link_uuid), before, behind)
        self._shared[link.link_uuid] = shared
        return shared


def plain_clicks(
    acceptor: Acceptor, dialect: Dialect, route: Endpoint | Query
) -> PlainClicks | None:
    """Takes the plain clicks of a route; None: it has none."""
    if isinstance(route, Query) or not route.has_plain_clicks:
        return None
    return PlainClicks(acceptor, dialect, route)
