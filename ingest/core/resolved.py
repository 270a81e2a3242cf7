"""What is known of a draft's target: the values between resolving and sealing."""

from uuid import UUID

from ingest.contracts.directory import (
    CustomerRecord,
    LinkRecord,
    ProgramRecord,
    SaleRecord,
    StatsRecord,
)
from ingest.core.authorize import Principal
from ingest.dialects.spec.requests import Value


class Asked(Value, frozen=True, kw_only=True):
    """Who asks, when (Unix milliseconds), from where, and what the answer needs."""

    principal: Principal
    at: int
    needs_partner: bool = False
    has_short_clicks: bool = False
    keeps_unknown: bool = False
    #: The caller's address.
    ip: str | None = None


class Resolved(Value, frozen=True, kw_only=True):
    """What is known of a target; most names are the envelope's.

    `click_token` is the click id as the caller of a lead is told it. Not certain: the
    directory could not be asked.
    """

    link: LinkRecord | None = None
    program: ProgramRecord | None = None
    customer: CustomerRecord | None = None
    sale: SaleRecord | None = None
    stats: StatsRecord | None = None
    link_id: UUID | None = None
    namespaces: tuple[str, ...] = ()
    code: str | None = None
    partner_code: str | None = None
    program_number: int | None = None
    click_id: UUID | None = None
    click_dated: int | None = None
    foreign_click: str | None = None
    click_token: str | None = None
    #: Of several targets one is a click that is too old to earn, and none earns.
    is_expired: bool = False
    is_certain: bool = True

    @property
    def owner(self) -> LinkRecord | ProgramRecord | None:
        """What says whose event it is."""
        return self.link or self.program
