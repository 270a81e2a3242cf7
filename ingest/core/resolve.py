"""Finds a target: a link, a click of a link, a customer, a program.

Where the directory cannot be asked, the draft is accepted with what the caller said, and
a worker resolves it or quarantines it. What edges did a moment ago counts as published.
"""

import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final
from uuid import UUID

from msgspec.structs import replace

from ingest.contracts.clickid import ClickToken
from ingest.contracts.directory import (
    DEFAULT_NAMESPACE,
    KEYS_NAMESPACE,
    CustomerRecord,
    LinkRecord,
    ProgramRecord,
    StatsRecord,
    domain_namespace,
    workspace_namespace,
)
from ingest.contracts.emails.key import EmailKey
from ingest.contracts.generated_codes import generate, may_be_generated, stand_in
from ingest.contracts.storable import NAME_CHARS, is_name, text
from ingest.contracts.telemetry import Bounded
from ingest.core.authorize import Principal
from ingest.core.clicks import Clicks
from ingest.core.ports import Links, UnknownCodes
from ingest.core.recent import Recent
from ingest.core.resolved import Asked, Resolved
from ingest.core.values import Missing
from ingest.dialects.spec.events import (
    ByClick,
    ByCode,
    ByCustomer,
    ByFingerprint,
    ByOwnId,
    ByPartner,
    ByProgram,
    BySale,
    ByVisitor,
    Draft,
    FirstOf,
    StatsOf,
    Target,
)
from ingest.dialects.spec.refusal import Refusal, RefusalCode

_RETRY_AFTER: Final = 1  # seconds
_DOMAINS_KEPT: Final = 4096

#: Nothing is known, and it cannot be asked whether there is anything.
_NO_ANSWER: Final = Resolved(is_certain=False)

#: Of several targets, one that ends in any of these makes way for the next.
_PASSED_OVER: Final[frozenset[RefusalCode]] = frozenset(
    {
        "link_unknown",
        "link_inactive",
        "click_unknown",
        "click_expired",
        "customer_unknown",
    }
)


_Way = Callable[[Any, Asked], Coroutine[Any, Any, Resolved]]


class Resolver:
    """Resolves every kind of target."""

    def __init__(
        self,
        records: Links,
        recent: Recent,
        clicks: Clicks,
        code_key: bytes,
        unknown: UnknownCodes,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`code_key` is of generated codes; `clock` gives seconds, to pace the log."""
        self.links = records
        self._recent = recent
        self._code_key = code_key
        self._counted = unknown
        self._unknown = Bounded("edge.link_unknown", clock)
        self._inactive = Bounded("edge.link_inactive", clock)
        self._ways: Mapping[type, _Way] = {
            ByCode: self._by_code,
            ByClick: clicks.by_click,
            ByOwnId: clicks.by_own_id,
            ByVisitor: clicks.by_visitor,
            ByFingerprint: clicks.by_fingerprint,
            ByCustomer: clicks.by_customer,
            BySale: clicks.by_sale,
            ByProgram: self._by_program,
            ByPartner: self._by_partner,
            StatsOf: self._stats_of,
            FirstOf: self._first_of,
        }

        self._clicks = clicks

    async def root(self, draft: Draft, resolved: Resolved) -> ClickToken | None:
        """The click that a click's visitor already carries, if it is of one workspace."""
        return await self._clicks.root(draft, resolved)

    async def customer(
        self, external_id: str, principal: Principal
    ) -> CustomerRecord | Missing:
        """The customer that an external id names in the caller's workspace."""
        return await self._clicks.customer(external_id, principal)

    async def email_key(self) -> EmailKey | None:
        """The key of e-mail addresses; None if it is not known now."""
        found = await self.links.email_key()
        return found if isinstance(found, EmailKey) else None

    def known(self, target: Target, asked: Asked) -> Resolved | None:
        """A link's code resolved from memory; None if that takes `resolve`. Raises Refusal."""
        if not isinstance(target, ByCode):
            return None
        namespaces = namespaces_of(target, asked.principal)
        link = self.links.link_in_memory(namespaces, target.code)
        return self._usable(link, target, asked) if type(link) is LinkRecord else None

    def resolve(self, target: Target, asked: Asked) -> Coroutine[Any, Any, Resolved]:
        """What is known of a target; raises Refusal."""
        return self._ways[type(target)](target, asked)

    async def link(self, namespaces: Sequence[str], code: str) -> LinkRecord | Missing:
        """The link of a code: published, or generated a moment ago."""
        link: LinkRecord | Missing = Missing.UNKNOWN
        if is_name(code):
            link = await self.links.link_by_code(namespaces, code)
        if link is Missing.UNKNOWN and may_be_generated(code):
            link = await self._recent.link(DEFAULT_NAMESPACE, code)
        return link

    def count_unknown(self, target: ByCode, owner: UUID | None, ip: str | None) -> None:
        """Count a code that no link has, from a workspace's key or from an address."""
        self._unknown.warning(code=text(target.code, NAME_CHARS))
        self._counted.count(target.domain, target.code, owner, ip)

    async def _by_code(self, target: ByCode, asked: Asked) -> Resolved:
        namespaces = namespaces_of(target, asked.principal)
        code = target.code
        link = await self.link(namespaces, code)
        if isinstance(link, Missing):
            is_elsewhere = link is Missing.UNKNOWN and KEYS_NAMESPACE in namespaces
            if link is Missing.UNAVAILABLE or is_elsewhere:
                return Resolved(namespaces=namespaces, code=code, is_certain=False)
        return self._usable(link, target, asked)

    def _usable(
        self, link: LinkRecord | Missing, target: ByCode, asked: Asked
    ) -> Resolved:
        principal = asked.principal
        if isinstance(link, Missing) or not principal.may_use(link.workspace_uuid):
            owner = principal.workspace_id if principal.has_key else None
            self.count_unknown(target, owner, asked.ip)
            if asked.keeps_unknown and is_name(target.code):
                namespaces = namespaces_of(target, principal)
                return Resolved(namespaces=namespaces, code=target.code)
            raise Refusal("link_unknown")
        if not link.is_active:
            self._inactive.warning(code=text(target.code, NAME_CHARS))
            raise Refusal("link_inactive")
        if asked.needs_partner and not (link.program_uuid and link.partner_uuid):
            raise Refusal("link_incomplete")
        return _of_link(link)

    async def _by_program(self, target: ByProgram, asked: Asked) -> Resolved:
        program = await self.links.program(target.number)
        if program is Missing.UNAVAILABLE:
            return Resolved(program_number=target.number, is_certain=False)
        return Resolved(program=_usable_program(program, asked))

    async def _by_partner(self, target: ByPartner, asked: Asked) -> Resolved:
        found = await self.links.program_by_id(target.program_id)
        link = await self.links.partner_link(target.program_id, target.partner_code)
        if Missing.UNAVAILABLE in (found, link) or not asked.principal.is_verified:
            # The partner may have another code, and two answers would be one too many.
            raise Refusal("overloaded", retry_after=_RETRY_AFTER)
        program = _usable_program(found, asked)
        if isinstance(link, LinkRecord):
            return replace(_of_link(link), program=program)
        if not is_name(target.partner_code):
            raise Refusal("partner_unknown")
        code = generate(self._code_key, program.program_uuid, target.partner_code)
        link = LinkRecord(
            link_uuid=stand_in(DEFAULT_NAMESPACE, code),
            workspace_uuid=program.workspace_uuid,
            public_id="",
            namespace=DEFAULT_NAMESPACE,
            code=code,
            domain="",
            url=program.url,
            is_active=True,
            program_uuid=program.program_uuid,
            program_number=program.number,
            partner_uuid=stand_in("partner", code),
            partner_code=target.partner_code,
            cookie_window_days=program.cookie_window_days,
            attribution_window_days=program.attribution_window_days,
            needs_server_lead=program.needs_server_lead,
            created_at=asked.at,
            is_provisional=True,
        )
        return replace(_of_link(link), program=program)

    async def _stats_of(self, target: StatsOf, asked: Asked) -> Resolved:
        workspace_id = asked.principal.workspace_id
        stats: StatsRecord | Missing = Missing.UNAVAILABLE
        if workspace_id is not None:
            stats = await self.links.stats(workspace_id, target.partner_code)
        if stats is Missing.UNAVAILABLE:
            return Resolved(is_certain=False)
        if isinstance(stats, Missing):
            raise Refusal("partner_unknown")
        return Resolved(stats=stats)

    async def _first_of(self, target: FirstOf, asked: Asked) -> Resolved:
        unresolved = Resolved()
        for choice in target.targets:
            try:
                found = await self.resolve(choice, asked)
            except Refusal as refusal:
                if refusal.code not in _PASSED_OVER:
                    raise
                if isinstance(choice, ByVisitor):
                    unresolved = self._clicks.unseen(choice, asked)
                elif refusal.code == "click_expired":
                    unresolved = replace(unresolved, is_expired=True)
            else:
                if found != _NO_ANSWER:
                    return found
                unresolved = found
        return unresolved


def _of_link(link: LinkRecord) -> Resolved:
    if not link.is_provisional:
        return Resolved(link=link, link_id=link.link_uuid)
    return Resolved(
        link=link,
        namespaces=(link.namespace,),
        code=link.code,
        partner_code=link.partner_code,
    )


def _usable_program(program: ProgramRecord | Missing, asked: Asked) -> ProgramRecord:
    may_use = asked.principal.may_use
    if isinstance(program, Missing) or not may_use(program.workspace_uuid):
        raise Refusal("program_unknown")
    return program


def namespaces_of(target: ByCode, principal: Principal) -> tuple[str, ...]:
    """Where to look for a code, best first."""
    if target.among == "anywhere":
        return anywhere(target.domain)
    own = _of_domain(target.domain)
    if target.among == "domain":
        return own
    if principal.workspace_id:
        return (*own, workspace_namespace(principal.workspace_id), DEFAULT_NAMESPACE)
    if not principal.is_verified:
        return (*own, KEYS_NAMESPACE, DEFAULT_NAMESPACE)
    return (*own, DEFAULT_NAMESPACE)


@lru_cache(_DOMAINS_KEPT)
def anywhere(domain: str | None) -> tuple[str, ...]:
    """Where to look for a code that need not be of its URL's domain, best first."""
    return (*_of_domain(domain), DEFAULT_NAMESPACE)


def _of_domain(domain: str | None) -> tuple[str, ...]:
    return (domain_namespace(domain),) if domain and is_name(domain) else ()
