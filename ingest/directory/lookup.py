"""Read-only lookups in the read model that workers publish."""

from collections.abc import Callable, Sequence
from typing import Any, overload
from uuid import UUID

from typing_extensions import override

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
from ingest.core.values import Missing
from ingest.directory.replica import Record, RecordRequest, Replica


class Directory(Replica):
    """The records that answers depend on, or why there is none.

    In memory the switches and limits are under their keys, a link under its namespaces and
    code.
    """

    #: The latest that was known.
    _limits: LimitsRecord | Missing = Missing.UNAVAILABLE
    _email_key: EmailKey | Missing = Missing.UNAVAILABLE

    def link_in_memory(
        self, namespaces: Sequence[str], code: str
    ) -> LinkRecord | Missing | None:
        """What `link_by_code` would say; None where it has to be asked for."""
        return _of_link(self.recall((*namespaces, code)))

    def switches_in_memory(self) -> SwitchesRecord | Missing | None:
        """What `switches` would say; None where it has to be asked for."""
        known: SwitchesRecord | Missing | None = self.recall(SWITCHES_KEY)
        return known

    async def link_by_code(
        self, namespaces: Sequence[str], code: str
    ) -> LinkRecord | Missing:
        """The link of a code in the first namespace that has it.

        A domain's namespace that lacks it ends the search if the domain is known.
        """
        question = (*namespaces, code)
        known = self.link_in_memory(namespaces, code)
        if known is not None:
            return known
        wanted: list[RecordRequest[LinkRecord | DomainRecord]] = []
        for namespace in namespaces:
            wanted.append(RecordRequest(link_key(namespace, code), LinkRecord.decode))
            if domain := domain_of(namespace):
                wanted.append(RecordRequest(domain_key(domain), _domain))
        return _of_link(await self.first(question, *wanted))

    def domain_in_memory(self, domain: str) -> DomainRecord | Missing | None:
        """What `domain` would say; None where it has to be asked for."""
        known: DomainRecord | Missing | None = self.recall(domain_key(domain))
        return known

    async def domain(self, domain: str) -> DomainRecord | Missing:
        """A domain that has codes of its own."""
        return await self._one(domain_key(domain), _domain)

    async def link_by_id(self, link_id: UUID) -> LinkRecord | Missing:
        return await self._one(link_id_key(link_id), LinkRecord.decode)

    async def api_key(self, hashes: Sequence[bytes]) -> KeyRecord | Missing:
        """The key that has one of the hashes."""
        wanted = (RecordRequest(api_key_key(item), KeyRecord.decode) for item in hashes)
        return await self.first(tuple(hashes), *wanted)

    async def program(self, number: int) -> ProgramRecord | Missing:
        return await self._one(program_key(number), ProgramRecord.decode)

    async def program_by_id(self, program_id: UUID) -> ProgramRecord | Missing:
        return await self._one(program_id_key(program_id), ProgramRecord.decode)

    async def partner_link(
        self, program_id: UUID, partner_code: str
    ) -> LinkRecord | Missing:
        """The oldest link of a partner in a program."""
        key = partner_link_key(program_id, partner_code)
        return await self._one(key, LinkRecord.decode)

    async def customer(
        self, workspace_id: UUID, external_id: str
    ) -> CustomerRecord | Missing:
        key = customer_key(workspace_id, external_id)
        return await self._one(key, CustomerRecord.decode)

    async def sale(self, workspace_id: UUID, key: bytes) -> SaleRecord | Missing:
        return await self._one(sale_key(workspace_id, key), SaleRecord.decode)

    async def stats(
        self, workspace_id: UUID, partner_code: str
    ) -> StatsRecord | Missing:
        """The stats of a partner's links."""
        key = stats_key(workspace_id, partner_code)
        return await self._one(key, StatsRecord.decode)

    async def email_key(self) -> EmailKey | Missing:
        """The key of e-mail addresses, as it was last known."""
        found = await self._one(EMAIL_KEY, EmailKey.decode)
        if isinstance(found, EmailKey):
            self._email_key = found
        return self._email_key

    async def switches(self) -> SwitchesRecord | Missing:
        return await self._one(SWITCHES_KEY, SwitchesRecord.decode)

    async def limits(self) -> LimitsRecord | Missing:
        """The limits that operators set, as they were last known."""
        found = await self._one(LIMITS_KEY, LimitsRecord.decode)
        if found is not Missing.UNAVAILABLE:
            self._limits = found
        return self._limits

    @override
    async def _refresh(self) -> None:
        await self.limits()
        await self.email_key()

    async def click(self, workspace_id: UUID, token: str) -> ClickRecord | Missing:
        """The click behind an id that was imported into a workspace."""
        return await self._one(click_key(workspace_id, token), ClickRecord.decode)

    async def _one(
        self, key: str, decode: Callable[[bytes], Record]
    ) -> Record | Missing:
        known: Record | Missing | None = self.recall(key)
        if known is not None:
            return known
        return await self.first(key, RecordRequest(key, decode))


def _domain(raw: bytes) -> DomainRecord:
    # Former releases published another value.
    return DomainRecord.decode(raw) if raw.startswith(b"{") else DomainRecord()


@overload
def _of_link(found: LinkRecord | DomainRecord | Missing) -> LinkRecord | Missing: ...
@overload
def _of_link(found: None) -> None: ...
def _of_link(found: Any) -> LinkRecord | Missing | None:
    """A known domain that lacks the code ends the search."""
    return Missing.UNKNOWN if isinstance(found, DomainRecord) else found
