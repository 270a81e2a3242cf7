"""What the core asks of its adapters."""

from collections.abc import Callable, Hashable, Sequence
from typing import Any, Protocol
from uuid import UUID

from ingest.contracts.directory import (
    ClickRecord,
    CustomerRecord,
    DomainRecord,
    LinkRecord,
    ProgramRecord,
    SaleRecord,
    StatsRecord,
)
from ingest.contracts.emails.key import EmailKey
from ingest.core.values import Mark, MintedId, Missing, Overloaded


class Links(Protocol):
    """What resolving asks the directory."""

    @property
    def recall(self) -> Callable[[Hashable], Any]:
        """What is in memory; None if it must be fetched.

        Of a link, under its namespaces and its code; of the switches, under SWITCHES_KEY.
        """
        ...

    def link_in_memory(
        self, namespaces: Sequence[str], code: str
    ) -> LinkRecord | Missing | None:
        """The result of `link_by_code` from memory; None if it must be fetched."""
        ...

    async def link_by_code(
        self, namespaces: Sequence[str], code: str
    ) -> LinkRecord | Missing:
        """The link of a code in the first namespace that has it."""
        ...

    async def domain(self, domain: str) -> DomainRecord | Missing:
        """A domain that has codes of its own."""
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

    async def sale(self, workspace_id: UUID, key: bytes) -> SaleRecord | Missing:
        """A sale by its dedupe key."""
        ...

    async def email_key(self) -> EmailKey | Missing:
        """The key of e-mail addresses."""
        ...

    async def stats(
        self, workspace_id: UUID, partner_code: str
    ) -> StatsRecord | Missing:
        """What a partner's links brought."""
        ...


class UnknownCodes(Protocol):
    """Counts codes that no link has."""

    def count(
        self, host: str | None, code: str, workspace_id: UUID | None, ip: str | None
    ) -> None:
        """Count a request with a workspace's key, or one without a key from an address."""
        ...


class Claims(Protocol):
    """Marks of earlier requests."""

    async def earlier(self, marks: Sequence[Mark]) -> Sequence[bytes | None]:
        """Write marks whose keys have no value; the former value of each."""
        ...


class Clock(Protocol):
    """The time, and new ids of it."""

    #: Mints a UUIDv7.
    new_id: Callable[[], MintedId]

    def now(self) -> int:
        """Unix milliseconds."""
        ...


class Sink(Protocol):
    """Where events become durable."""

    def admit(self) -> None:
        """Raise Overloaded if nothing becomes durable now, as far as is known."""
        ...

    async def append(self, event_id: UUID, payload: bytes) -> None:
        """Return when the event is durable; raise Overloaded otherwise."""
        ...

    def offer(
        self, event_id: bytes, payload: bytes, settled: Callable[[str | None], None]
    ) -> bool:
        """Begin to append to the stream; False where `append` has to decide.

        `settled` is called with the reason why the stream has not taken it; None: it is
        durable.
        """
        ...

    async def keep(self, event_id: UUID, payload: bytes, why: str | None) -> None:
        """Like `append`, of an event that the stream did not take, for this reason."""
        ...

    async def append_together(
        self, events: Sequence[tuple[UUID, bytes]]
    ) -> Sequence[Overloaded | None]:
        """Append events of one request: why each is not durable, None where it is."""
        ...
