"""What the path of a request asks of others. Imported by `accept`, `visits`, `resolve`."""

from collections.abc import Mapping, Sequence
from typing import Protocol
from uuid import UUID

from ingest.contracts.clickid import ClickToken
from ingest.contracts.directory import (
    ClickRecord,
    CustomerRecord,
    LinkRecord,
    ProgramRecord,
    StatsRecord,
)
from ingest.core.authorize import Admission, Principal
from ingest.core.resolved import Asked, Resolved
from ingest.core.values import Mark, Missing
from ingest.dialects.spec import (
    Credential,
    Dialect,
    Draft,
    RawRequest,
    Route,
    Target,
    Usage,
)


class Gate(Protocol):
    """Who may."""

    async def admit(self, dialect: Dialect, route: Route, raw: RawRequest) -> Admission:
        """The caller; raises Refusal."""
        ...

    async def identify(
        self, dialect: Dialect, wanted: Credential | None, headers: Mapping[str, str]
    ) -> Principal:
        """Who calls a dialect; raises Refusal."""
        ...

    async def count(
        self, dialect: Dialect, route: Route, principal: Principal, ip: str | None
    ) -> Usage | None:
        """Count an event against the limits of its route and its caller."""
        ...

    async def pass_switches(
        self, link: LinkRecord | None, program: ProgramRecord | None
    ) -> None:
        """Raise Refusal where one of them is switched off."""
        ...


class Resolver(Protocol):
    """What targets are."""

    async def resolve(self, target: Target, asked: Asked) -> Resolved:
        """What is known of a target; raises Refusal."""
        ...

    async def root(self, draft: Draft, resolved: Resolved) -> ClickToken | None:
        """The click that a click's visitor already carries."""
        ...

    async def customer(
        self, external_id: str, principal: Principal
    ) -> CustomerRecord | Missing:
        """The customer that an external id names."""
        ...


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

    async def partner_link(
        self, program_id: UUID, partner_code: str
    ) -> LinkRecord | Missing:
        """The oldest link of a partner in a program."""
        ...

    async def program(self, number: int) -> ProgramRecord | Missing:
        """A program by its public number."""
        ...

    async def program_by_id(self, program_id: UUID) -> ProgramRecord | Missing:
        """A program by its id."""
        ...

    async def click(self, workspace_id: UUID, token: str) -> ClickRecord | Missing:
        """The click behind an imported or short click id."""
        ...

    async def customer(
        self, workspace_id: UUID, external_id: str
    ) -> CustomerRecord | Missing:
        """A customer by its external id."""
        ...

    async def stats(
        self, workspace_id: UUID, partner_code: str
    ) -> StatsRecord | Missing:
        """What a partner's links brought."""
        ...


class Claims(Protocol):
    """What came before."""

    async def earlier(self, marks: Sequence[Mark]) -> Sequence[bytes | None]:
        """Leave marks; what was there before, for each of them."""
        ...


class Sink(Protocol):
    """Where events become durable."""

    def admit(self) -> None:
        """Raise Overloaded if nothing becomes durable now, as far as is known."""
        ...

    async def append(self, event_id: UUID, payload: bytes) -> None:
        """Return when the event is durable; raise Overloaded otherwise."""
        ...
