"""Visits that need nothing but memory: their clicks are sealed in one call, without waiting.

Nearly all are such. Every other takes the path of `Redirects`, and so does one that this
leaves; both answer and record the same.
"""

from typing import Final

from msgspec import Struct

from ingest.contracts.directory import DomainRecord, LinkRecord
from ingest.contracts.envelope import CLICK
from ingest.contracts.metrics.edge import ACCEPTED
from ingest.contracts.metrics.tallies import LocalCounter
from ingest.core.plain_click import PlainClicks, SealedClick
from ingest.core.resolve import anywhere
from ingest.dialects.spec.events import ByCode
from ingest.dialects.spec.requests import Value
from ingest.redirect.destination import may_lead
from ingest.redirect.dialects import PIXEL, REDIRECT, endpoint_of
from ingest.redirect.redirects import Redirects
from ingest.redirect.visits import LinkVisit

_REFERRER_CHARS: Final = 2048
#: With one of these, a click is not plain.
_SPECIAL: Final = frozenset({"idempotency-key", "sec-gpc", "sec-purpose"})


class _Said(Value, frozen=True):
    """What the click of a visit says; see `PlainClick`."""

    referrer: str | None
    session: str | None = None
    user_agent: str | None = None
    page_url: str | None = None
    properties: Struct | None = None


class SealedVisit(Value, frozen=True):
    """The link and the sealed click of a visit, and what counts it once it is durable."""

    link: LinkRecord
    click: SealedClick
    accepted: LocalCounter

    @property
    def click_id(self) -> str:
        # The body is a text of JSON.
        return self.click.body[1:-1].decode()


class Shortcut:
    """Seals the clicks of visits whose links are in memory."""

    def __init__(self, redirects: Redirects) -> None:
        acceptor = redirects.acceptor
        self._links = acceptor.resolver.links
        self._domain = redirects.directory.domain_in_memory
        self._now = acceptor.clock.now
        redirect, pixel = (
            (
                PlainClicks(acceptor, dialect, endpoint_of(dialect), _same),
                ACCEPTED.labels(dialect.name, CLICK),
            )
            for dialect in (REDIRECT, PIXEL)
        )
        self._clicks = {"link": redirect, "domain": redirect, "pixel": pixel}

    def take(self, visit: LinkVisit) -> SealedVisit | None:
        """The link and the click of a visit; None: it is for `Redirects` to answer.

        A click that is taken is counted against the limit of its address.
        """
        headers = visit.raw.headers
        referrer = headers.get("referer") or None
        if (
            visit.is_head
            or not _SPECIAL.isdisjoint(headers)
            or visit.is_bot
            or (referrer and ("\0" in referrer or len(referrer) > _REFERRER_CHARS))
        ):
            return None
        known, domain = self._known_domain(visit)
        code = visit.wanted.code
        link = self._links.link_in_memory(anywhere(domain), code) if known else None
        if type(link) is not LinkRecord or not self._leads(link):
            return None
        clicks, accepted = self._clicks[visit.wanted.kind]
        agent = headers.get("user-agent")
        said = (ByCode(code, domain), _Said(referrer))
        click = clicks.take(said, agent, visit.raw.ip)
        return None if click is None else SealedVisit(link, click, accepted)

    def _known_domain(self, visit: LinkVisit) -> tuple[bool, str | None]:
        """The domain of a visit; False where it has to be looked up, or has to be one."""
        for name in visit.domains:
            found = self._domain(name)
            if isinstance(found, DomainRecord):
                return True, name
            if found is None:
                return False, None
        return visit.wanted.kind != "domain", None

    def _leads(self, link: LinkRecord) -> bool:
        return (link.ends_at is None or link.ends_at > self._now()) and may_lead(
            link.url
        )


def _same(said: tuple[ByCode, _Said]) -> tuple[ByCode, _Said]:
    return said
