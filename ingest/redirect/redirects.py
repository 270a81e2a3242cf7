"""Leads visitors on: the link of a code, its click, then the link's URL.

A visitor is led on whatever becomes of the click. One that is not recorded, since a limit is
reached, recording is switched off or nothing is durable, leaves without a click id, and is
counted as lost.
"""

from dataclasses import dataclass
from typing import Final
from uuid import UUID

from ingest.contracts.directory import DomainRecord, LinkRecord
from ingest.contracts.metrics.edge import LOST
from ingest.core.accept import Acceptor
from ingest.core.resolve import anywhere
from ingest.core.values import Missing
from ingest.dialects.spec.events import ByCode
from ingest.dialects.spec.refusal import Refusal
from ingest.dialects.spec.requests import RawRequest, Value
from ingest.dialects.spec.routes import Dialect
from ingest.directory.lookup import Directory
from ingest.http.middleware import failed
from ingest.redirect.answers import MISSING, UNAVAILABLE, Answer, led_to, shown
from ingest.redirect.destination import CLICK_PARAM, destination, may_lead
from ingest.redirect.dialects import PIXEL, REDIRECT, endpoint_of
from ingest.redirect.visits import LinkVisit

_RECORDED: Final = 200


class _Found(Value, frozen=True):
    """The code that a link was found under, and the domain, if that is a known one."""

    link: LinkRecord | Missing
    code: str
    domain: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Redirects:
    """Answers visits."""

    acceptor: Acceptor
    directory: Directory

    async def answer(self, visit: LinkVisit) -> Answer:
        """What a visitor is told; the click is durable before, or it is lost."""
        is_pixel = visit.wanted.kind == "pixel"
        try:
            return await self._answer(visit, is_pixel=is_pixel)
        except Exception as error:  # noqa: BLE001 -- as below
            dialect = _dialect_of(visit)
            failed(dialect, dialect.prefix, error)
            return shown() if is_pixel else UNAVAILABLE

    async def _answer(self, visit: LinkVisit, *, is_pixel: bool) -> Answer:
        found = await self._find(visit)
        link = found.link
        if isinstance(link, Missing):
            if link is Missing.UNKNOWN and visit.wanted.code:
                target = ByCode(visit.wanted.code, next(iter(visit.domains), None))
                self.acceptor.resolver.count_unknown(target, None, visit.raw.ip)
            if is_pixel:
                return shown()
            return MISSING if link is Missing.UNKNOWN else UNAVAILABLE
        if not await self._is_open(link):
            return shown() if is_pixel else _fallback(link)
        click_id = None if visit.is_head else await self._record(visit, found)
        return led(visit, link, click_id)

    async def keep(
        self, visit: LinkVisit, event_id: UUID, payload: bytes, why: str
    ) -> bool:
        """Whether a click is durable that the stream did not take; else it is lost."""
        dialect = _dialect_of(visit)
        refusal = await self.acceptor.keep(dialect, event_id, payload, why)
        if refusal is not None:
            LOST.labels(dialect.name, refusal.body).inc()
        return refusal is None

    async def domain(
        self, names: tuple[str, ...]
    ) -> tuple[str, DomainRecord | Missing]:
        """The first of some domains that is known; else why none is."""
        missing = Missing.UNKNOWN
        for name in names:
            found = self.directory.domain_in_memory(name)
            if found is None:
                found = await self.directory.domain(name)
            if isinstance(found, DomainRecord):
                return name, found
            missing = missing if found is Missing.UNKNOWN else found
        return "", missing

    async def _find(self, visit: LinkVisit) -> _Found:
        wanted, links = visit.wanted, self.acceptor.resolver
        name, domain = await self.domain(visit.domains)
        is_needed = wanted.kind == "domain" or domain is Missing.UNAVAILABLE
        if isinstance(domain, Missing) and is_needed:
            return _Found(domain, wanted.code, None)
        namespaces = anywhere(name or None)
        link = await links.link(namespaces, wanted.code)
        small = wanted.code.lower()
        if link is Missing.UNKNOWN and small != wanted.code and _folds(domain):
            return _Found(await links.link(namespaces, small), small, name)
        return _Found(link, wanted.code, name or None)

    async def _is_open(self, link: LinkRecord) -> bool:
        """Whether a link leads to its URL now."""
        ends_at = link.ends_at
        if not link.is_active or (ends_at and ends_at <= self.acceptor.clock.now()):
            return False
        if not may_lead(link.url):
            domain = await self.directory.domain(link.domain)
            if isinstance(domain, Missing) or not may_lead(link.url, domain.schemes):
                return False
        try:
            await self.acceptor.authorizer.pass_switches(link, None)
        except Refusal:
            return False
        return True

    async def _record(self, visit: LinkVisit, found: _Found) -> str | None:
        """Record the click; its id, if the visitor may keep one."""
        dialect = _dialect_of(visit)
        try:
            reply = await self.acceptor.accept(
                dialect,
                endpoint_of(dialect),
                _raw(visit, found),
                is_counted=visit.is_counted,
            )
        except Exception as error:  # noqa: BLE001 -- the last resort, and it is logged
            reply = failed(dialect, dialect.prefix, error)
        if reply.status != _RECORDED:
            LOST.labels(dialect.name, reply.body).inc()
            return None
        return reply.body if isinstance(reply.body, str) else None


def _dialect_of(visit: LinkVisit) -> Dialect:
    return PIXEL if visit.wanted.kind == "pixel" else REDIRECT


def led(visit: LinkVisit, link: LinkRecord, click_id: str | None) -> Answer:
    """Where a visitor ends whose link leads somewhere; without an id no click is recorded."""
    if visit.wanted.kind == "pixel":
        return shown(click_id, link.cookie_window_days)
    name = link.click_param or CLICK_PARAM
    url = destination(link.url, visit.wanted.query, click_id, name)
    return led_to(url, click_id, link.cookie_window_days)


def _raw(visit: LinkVisit, found: _Found) -> RawRequest:
    path = {"code": found.code}
    if found.domain:
        path["domain"] = found.domain
    return RawRequest(
        path=path,
        query={"bot": ""} if visit.is_bot else {},
        headers=visit.raw.headers,
        ip=visit.raw.ip,
    )


def _folds(domain: DomainRecord | Missing) -> bool:
    """Whether a code that nobody has is looked up in small letters too."""
    return isinstance(domain, DomainRecord) and not domain.is_case_sensitive


def _fallback(link: LinkRecord) -> Answer:
    url = link.fallback_url
    return led_to(destination(url)) if url and may_lead(url) else MISSING
