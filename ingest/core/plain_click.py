"""Plain clicks: from the body to the bytes for the stream in one call, without waiting.

A click is plain if its route wants no key and has no limit but one by address that this edge
counts alone, its link is in memory, nothing is switched off, and its body is as trackers send
it: nearly all clicks. What the clicks of a link have in common is made once: the answer and
the envelope, with holes. Every other request takes the path of `accept`, and so does one
beyond the limit; both say the same of a plain click, byte for byte, and a property test holds
them together.
"""

from collections.abc import Callable, Hashable
from typing import Final, Generic, TypeVar

import orjson

from ingest.contracts.click_template import ClickTemplate
from ingest.contracts.directory import (
    LIMITS_KEY,
    SWITCHES_KEY,
    LimitsRecord,
    LinkRecord,
)
from ingest.contracts.envelope import CLICK, Client
from ingest.contracts.storable import AGENT_CHARS
from ingest.core.accept import Acceptor
from ingest.core.authorize import only_by_address
from ingest.core.client_ip import network_of
from ingest.core.resolve import anywhere
from ingest.core.seal import STORED_ADDRESS, visitor_of
from ingest.core.values import Missing
from ingest.dialects.spec.events import ByCode, Draft, Outcome, PlainClick
from ingest.dialects.spec.requests import Value
from ingest.dialects.spec.routes import Dialect, Endpoint, Query

Sent = TypeVar("Sent")

_LINKS_KEPT: Final = 50_000
#: For what is asked of every click: Python 3.11 finds a member by its name slowly.
_UNKNOWN: Final = Missing.UNKNOWN
#: Stands for the click id in the answer that all plain clicks of a link share.
_HOLE: Final = "{click id}"


class SealedClick(Value, frozen=True):
    """An event to be appended, and what its client is told once it is durable."""

    #: A UUIDv7.
    event_id: bytes
    payload: bytes
    #: The JSON of the answer.
    body: bytes


class _Shared(Value, frozen=True, kw_only=True):
    """What all plain clicks of one link have in common."""

    #: Under what the directory has the link in memory.
    question: Hashable
    link: LinkRecord
    link_id: bytes
    template: ClickTemplate
    #: The answer before and behind the click id.
    before: bytes
    behind: bytes


class PlainClicks(Generic[Sent]):
    """Takes the plain clicks of one route."""

    def __init__(
        self,
        acceptor: Acceptor,
        dialect: Dialect,
        endpoint: Endpoint,
        read: Callable[[Sent], tuple[ByCode, PlainClick] | None],
    ) -> None:
        """`read` reads what a plain click was sent as: its body, if it has one."""
        self._endpoint = endpoint
        self._name = dialect.name
        self._read = read
        self._recall = acceptor.resolver.links.recall
        self._admits = acceptor.authorizer.limiter.admits
        self._limits: LimitsRecord | Missing | None = None
        self._limit_name, self._per_minute = "", 0
        self._clock = acceptor.clock
        self._issue = acceptor.outcomes.keys.issue_bytes
        self._visitor_key = acceptor.visitors.visitor_key
        self._stored_address = STORED_ADDRESS[acceptor.store_ip]
        self._shared: dict[ByCode, _Shared] = {}

    def take(self, body: Sent, agent: str | None, ip: str | None) -> SealedClick | None:
        """The event of a request; None: it is for `Acceptor.accept` to take or refuse.

        An event that is taken is counted against the limit of its address.
        `agent` is the request's User-Agent, in ASCII; `ip` the caller's address.
        """
        said = self._read(body)
        if said is None:
            return None
        target, click = said
        shared = self._shared_by(target)
        if shared is None:
            return None
        if ip is not None:
            address = network_of(ip) if ":" in ip else ip
            if not self._admits(self._limit_name + address, self._per_minute):
                return None
        event_id = self._clock.new_id().bytes
        agent = click.user_agent or agent
        client = Client(
            ip=self._stored_address(ip) if ip else None,
            user_agent=agent[:AGENT_CHARS] if agent else None,
            visitor=visitor_of(self._visitor_key, ip, agent) if ip else None,
            referrer=click.referrer,
            page_url=click.page_url,
        )
        payload = shared.template.encode(
            event_id, click.session, client, click.properties
        )
        click_id = self._issue(event_id, shared.link_id)
        return SealedClick(
            event_id, payload, b"".join((shared.before, click_id, shared.behind))
        )

    def _shared_by(self, target: ByCode) -> _Shared | None:
        """What a link gives to all its clicks; None: they are not plain."""
        switches = self._recall(SWITCHES_KEY)
        if switches is None or (switches is not _UNKNOWN and switches.off):
            return None
        limits = self._recall(LIMITS_KEY)
        if limits is not self._limits:
            self._limits = limits
            self._limit_name, self._per_minute = only_by_address(self._endpoint, limits)
        if not self._per_minute:
            return None
        shared = self._shared.get(target)
        if shared is not None and self._recall(shared.question) is shared.link:
            return shared
        return self._share(target)

    def _share(self, target: ByCode) -> _Shared | None:
        question = (*anywhere(target.domain), target.code)
        link = self._recall(question)
        if type(link) is not LinkRecord or not link.is_active or link.is_provisional:
            return None
        if self._endpoint.needs_partner and not (
            link.program_uuid and link.partner_uuid
        ):
            return None
        draft = Draft(kind=CLICK, target=target)
        outcome = Outcome(draft, link.link_uuid, click_token=_HOLE, link=link)
        reply = self._endpoint.answer(outcome)
        before, hole, behind = orjson.dumps(reply.body).partition(_HOLE.encode())
        if not hole or reply.status != 200 or reply.headers:  # noqa: PLR2004 -- HTTP
            return None
        if len(self._shared) >= _LINKS_KEPT:
            self._shared.clear()
        template = ClickTemplate(self._name, link.workspace_uuid, link.link_uuid)
        self._shared[target] = shared = _Shared(
            question=question,
            link=link,
            link_id=link.link_uuid.bytes,
            template=template,
            before=before,
            behind=behind,
        )
        return shared


def plain_clicks(
    acceptor: Acceptor, dialect: Dialect, route: Endpoint | Query
) -> PlainClicks[bytes] | None:
    """Takes the plain clicks of a route; None: it has none."""
    if isinstance(route, Query) or route.plain_click is None:
        return None
    return PlainClicks(acceptor, dialect, route, route.plain_click)
