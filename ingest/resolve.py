"""Finds a draft's target: a link, a click of a link, a program. Used by `accept`.

Where the directory cannot be asked, the draft is accepted with what the caller said, and
a worker resolves it or quarantines it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol
from uuid import UUID

from ingest.contracts.clickid import ClickToken, KeyRing
from ingest.contracts.directory import (
    DEFAULT_NAMESPACE,
    ClickRecord,
    LinkRecord,
    ProgramRecord,
    domain_namespace,
)
from ingest.contracts.envelope import Kind
from ingest.contracts.ids import millis
from ingest.contracts.storable import text
from ingest.contracts.telemetry import Log
from ingest.dialects.spec import (
    ByClick,
    ByCode,
    ByProgram,
    Draft,
    Endpoint,
    Refusal,
)
from ingest.directory import Missing
from ingest.gate import Principal

_NAME_CHARS: Final = 255
_DAY_MS: Final = 24 * 3600 * 1000

#: The link in a click id that was issued while there was no directory to ask.
NO_LINK: Final = UUID(int=0)


class Records(Protocol):
    """What resolving asks the directory."""

    async def link_by_code(
        self, namespaces: Sequence[str], code: str
    ) -> LinkRecord | Missing:
        """The link of a code in the first namespace that has it."""
        ...

    async def link_by_id(self, link_id: UUID) -> LinkRecord | Missing:
        """A link by its id."""
        ...

    async def program(self, number: int) -> ProgramRecord | Missing:
        """A program by its public number."""
        ...

    async def click(self, workspace_id: UUID, token: str) -> ClickRecord | Missing:
        """The click behind an imported click id."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """What is known of a target; the names are the envelope's.

    `click_token` is the click id as the caller of a lead is told it.
    """

    link: LinkRecord | None = None
    program: ProgramRecord | None = None
    link_id: UUID | None = None
    namespaces: tuple[str, ...] = ()
    code: str | None = None
    program_number: int | None = None
    click_id: UUID | None = None
    click_token: str | None = None
    foreign_click: str | None = None

    @property
    def owner(self) -> LinkRecord | ProgramRecord | None:
        """What says which workspace and program this is about."""
        return self.link or self.program


class Resolver:
    """Turns targets into records, or refuses."""

    def __init__(self, records: Records, keys: KeyRing) -> None:
        """`keys` verify and issue click ids."""
        self._records = records
        self._keys = keys
        self._log = Log()

    async def resolve(
        self, draft: Draft, endpoint: Endpoint, principal: Principal, at: int
    ) -> Resolved:
        """`at` is Unix milliseconds; raises Refusal for what is known not to be."""
        match draft.target:
            case ByCode(code, domain):
                return await self._by_code(code, domain, endpoint, principal)
            case ByClick(token):
                return await self._by_click(token, principal, at)
            case ByProgram(number):
                return await self._by_program(number, principal)

    async def root(self, draft: Draft, resolved: Resolved) -> ClickToken | None:
        """The click that a click's visitor already carries, if we issued it here."""
        if draft.kind is not Kind.CLICK or draft.is_test or not draft.existing_click:
            return None
        carried = self._keys.verify(draft.existing_click)
        if carried is None or resolved.owner is None or carried.link_id == NO_LINK:
            return carried
        link = await self._records.link_by_id(carried.link_id)
        if link is Missing.UNAVAILABLE:
            return carried
        if isinstance(link, Missing):
            return None
        same = link.workspace_uuid == resolved.owner.workspace_uuid
        return carried if same else None

    async def _by_code(
        self, code: str, domain: str | None, endpoint: Endpoint, principal: Principal
    ) -> Resolved:
        namespaces: tuple[str, ...] = (DEFAULT_NAMESPACE,)
        if domain and _is_name(domain):
            namespaces = (domain_namespace(domain), DEFAULT_NAMESPACE)
        link: LinkRecord | Missing = Missing.UNKNOWN
        if _is_name(code):
            link = await self._records.link_by_code(namespaces, code)
        if link is Missing.UNAVAILABLE:
            return Resolved(namespaces=namespaces, code=code)
        if isinstance(link, Missing) or not principal.may_use(link.workspace_uuid):
            self._log.warning("edge.link_unknown", code=text(code, _NAME_CHARS))
            raise Refusal("link_unknown")
        if not link.is_active:
            raise Refusal("link_inactive")
        if endpoint.needs_partner and not (link.program_uuid and link.partner_uuid):
            raise Refusal("link_incomplete")
        return Resolved(link=link, link_id=link.link_uuid)

    async def _by_click(self, token: str, principal: Principal, at: int) -> Resolved:
        ours = self._keys.verify(token)
        if ours is not None:
            return await self._click(ours, principal, at)
        record: ClickRecord | Missing = Missing.UNKNOWN
        if _is_name(token) and principal.workspace_id is not None:
            record = await self._records.click(principal.workspace_id, token)
        elif _is_name(token) and not principal.is_verified:
            record = Missing.UNAVAILABLE
        if record is Missing.UNAVAILABLE:
            return Resolved(foreign_click=token, click_token=token)
        if isinstance(record, Missing):
            raise Refusal("click_unknown")
        click = ClickToken(record.click_uuid, record.link_uuid)
        return await self._click(click, principal, at)

    async def _click(
        self, click: ClickToken, principal: Principal, at: int
    ) -> Resolved:
        token = self._keys.issue(click.click_id, click.link_id)
        if click.link_id == NO_LINK:
            return Resolved(click_id=click.click_id, click_token=token)
        link = await self._records.link_by_id(click.link_id)
        facts = Resolved(
            link=None if isinstance(link, Missing) else link,
            link_id=click.link_id,
            click_id=click.click_id,
            click_token=token,
        )
        if link is Missing.UNAVAILABLE:
            return facts
        if isinstance(link, Missing) or not principal.may_use(link.workspace_uuid):
            raise Refusal("click_unknown")
        if at - millis(click.click_id) > link.attribution_window_days * _DAY_MS:
            raise Refusal("click_expired")
        return facts

    async def _by_program(self, number: int, principal: Principal) -> Resolved:
        program = await self._records.program(number)
        if program is Missing.UNAVAILABLE:
            return Resolved(program_number=number)
        if isinstance(program, Missing) or not principal.may_use(
            program.workspace_uuid
        ):
            raise Refusal("program_unknown")
        return Resolved(program=program)


def _is_name(value: str) -> bool:
    """Whether the database could hold it: what it could not, nobody has published."""
    return bool(value) and text(value, _NAME_CHARS) == value
