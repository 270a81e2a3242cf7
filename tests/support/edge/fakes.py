"""Fakes that pass the conformance suites of the real things."""

from collections.abc import Sequence
from typing import TypeVar
from uuid import UUID

from ingest.contracts.directory import (
    EMAIL_KEY,
    LIMITS_KEY,
    SWITCHES_KEY,
    ClickRecord,
    CustomerRecord,
    DomainRecord,
    KeyRecord,
    LimitsRecord,
    LinkRecord,
    ProgramRecord,
    SaleRecord,
    StatsRecord,
    SwitchesRecord,
    api_key_key,
    click_key,
    customer_key,
    domain_key,
    domain_of,
    link_id_key,
    link_key,
    partner_link_key,
    program_id_key,
    program_key,
    sale_key,
    stats_key,
)
from ingest.contracts.emails.key import EmailKey
from ingest.contracts.encoding.envelopes import decode
from ingest.contracts.envelope import Envelope
from ingest.contracts.ids import first_id_at
from ingest.core.values import Demand, Mark, Missing, Overloaded
from ingest.dialects.spec.requests import Usage

Record = TypeVar("Record")


class FixedClock:
    """Stands still until it is told to move."""

    def __init__(self, now: int = 1_790_000_000_000) -> None:
        self.now = now

    def __call__(self) -> int:
        return self.now


class CountingIds:
    """UUIDv7 values of the clock's millisecond, counted from one."""

    def __init__(self, clock: FixedClock) -> None:
        self._clock = clock
        self.issued: list[UUID] = []

    def __call__(self) -> UUID:
        count = len(self.issued) + 1
        self.issued.append(UUID(int=first_id_at(self._clock.now).int + count))
        return self.issued[-1]


class MemorySink:
    """Keeps what is appended, until it is told to be full."""

    def __init__(self) -> None:
        self.entries: list[tuple[UUID, bytes]] = []
        self.is_full = False
        self._was_full = False

    @property
    def envelopes(self) -> list[Envelope]:
        return [decode(payload) for _, payload in self.entries]

    def admit(self) -> None:
        # It is known once somebody was turned away.
        if self.is_full and self._was_full:
            raise Overloaded("full")

    def offer(self, _: bytes, __: bytes, ___: object) -> bool:
        """Nothing is begun: everything is appended."""
        return False

    async def keep(self, event_id: UUID, payload: bytes, _: str | None) -> None:
        await self.append(event_id, payload)

    async def append(self, event_id: UUID, payload: bytes) -> None:
        self._was_full = self.is_full
        if self.is_full:
            raise Overloaded("full")
        self.entries.append((event_id, payload))

    async def append_together(
        self, events: Sequence[tuple[UUID, bytes]]
    ) -> Sequence[Overloaded | None]:
        problems: list[Overloaded | None] = []
        for event in events:
            try:
                await self.append(*event)
            except Overloaded as error:
                problems.append(error)
            else:
                problems.append(None)
        return problems


class MemoryClaims:
    """Marks in a dict, which never expire."""

    def __init__(self) -> None:
        self.marks: dict[str, bytes] = {}
        self.asked: list[Sequence[Mark]] = []
        self.is_away = False

    async def earlier(self, marks: Sequence[Mark]) -> Sequence[bytes | None]:
        self.asked.append(marks)
        if self.is_away:
            return [None] * len(marks)
        found = [self.marks.get(mark.key) for mark in marks]
        for mark in marks:
            if mark.overrides or mark.key not in self.marks:
                self.marks[mark.key] = mark.value
        return found

    async def recall(self, key: str) -> bytes | Missing:
        if self.is_away:
            return Missing.UNAVAILABLE
        return self.marks.get(key, Missing.UNKNOWN)


class MemoryLimiter:
    """Admits everything, until it is told what to say; remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[Sequence[Demand]] = []
        self.usage: Usage | None = None

    def admits(self, subject: str, per_minute: int) -> bool:
        self.asked.append([Demand(subject, per_minute, asks=False, is_local=True)])
        return self.usage is None

    async def take(self, demands: Sequence[Demand]) -> Usage | None:
        self.asked.append(demands)
        return self.usage if demands else None


class MemoryDirectory:
    """Records under the keys that they have in Redis."""

    def __init__(self) -> None:
        self.records: dict[str, object] = {}
        self.is_whole = True
        self.is_away = False

    def recall(self, _: object) -> None:
        """Nothing is in memory: everything is asked for."""

    def link_in_memory(self, _: Sequence[str], __: str) -> None:
        """Nothing is in memory: everything is asked for."""

    def switches_in_memory(self) -> None:
        """Likewise."""

    async def link_by_code(
        self, namespaces: Sequence[str], code: str
    ) -> LinkRecord | Missing:
        for namespace in namespaces:
            found = self._get(link_key(namespace, code), LinkRecord)
            if found is not Missing.UNKNOWN:
                return found
            domain = domain_of(namespace)
            if domain and domain_key(domain) in self.records:
                return Missing.UNKNOWN
        return Missing.UNKNOWN

    async def domain(self, domain: str) -> DomainRecord | Missing:
        return self._get(domain_key(domain), DomainRecord)

    async def link_by_id(self, link_id: UUID) -> LinkRecord | Missing:
        return self._get(link_id_key(link_id), LinkRecord)

    async def api_key(self, hashes: Sequence[bytes]) -> KeyRecord | Missing:
        for item in hashes:
            found = self._get(api_key_key(item), KeyRecord)
            if found is not Missing.UNKNOWN:
                return found
        return Missing.UNKNOWN

    async def program(self, number: int) -> ProgramRecord | Missing:
        return self._get(program_key(number), ProgramRecord)

    async def program_by_id(self, program_id: UUID) -> ProgramRecord | Missing:
        return self._get(program_id_key(program_id), ProgramRecord)

    async def partner_link(
        self, program_id: UUID, partner_code: str
    ) -> LinkRecord | Missing:
        return self._get(partner_link_key(program_id, partner_code), LinkRecord)

    async def customer(
        self, workspace_id: UUID, external_id: str
    ) -> CustomerRecord | Missing:
        return self._get(customer_key(workspace_id, external_id), CustomerRecord)

    async def sale(self, workspace_id: UUID, key: bytes) -> SaleRecord | Missing:
        return self._get(sale_key(workspace_id, key), SaleRecord)

    async def stats(
        self, workspace_id: UUID, partner_code: str
    ) -> StatsRecord | Missing:
        return self._get(stats_key(workspace_id, partner_code), StatsRecord)

    async def email_key(self) -> EmailKey | Missing:
        return self._get(EMAIL_KEY, EmailKey)

    async def switches(self) -> SwitchesRecord | Missing:
        return self._get(SWITCHES_KEY, SwitchesRecord)

    async def limits(self) -> LimitsRecord | Missing:
        return self._get(LIMITS_KEY, LimitsRecord)

    async def click(self, workspace_id: UUID, token: str) -> ClickRecord | Missing:
        return self._get(click_key(workspace_id, token), ClickRecord)

    def _get(self, key: str, kind: type[Record]) -> Record | Missing:
        record = None if self.is_away else self.records.get(key)
        if isinstance(record, kind):
            return record
        is_sure = self.is_whole and not self.is_away
        return Missing.UNKNOWN if is_sure else Missing.UNAVAILABLE
