"""Marks in Redis of what edges accepted and workers may not have published yet.

Every edge writes them, and every edge reads them. They are hints: without them, the
directory and the worker decide.
"""

from collections.abc import Callable
from typing import Final, Protocol, TypeVar
from uuid import UUID

from ingest.contracts.clickid import ClickToken
from ingest.contracts.directory import CustomerRecord, LinkRecord, SaleRecord
from ingest.contracts.envelope import Dedupe
from ingest.contracts.marks import (
    claim_key,
    new_click_key,
    new_customer_key,
    new_link_key,
    new_own_visitor_key,
    new_sale_key,
    new_visitor_key,
)
from ingest.contracts.metrics.edge import UNMARKED
from ingest.contracts.shares import HourlyShares, Subject
from ingest.core.client_ip import truncate
from ingest.core.values import Hint, Mark, Missing

#: Long after a worker that lives would have published it.
_UNPUBLISHED_SECONDS: Final = 24 * 3600
_DAY_SECONDS: Final = 24 * 3600
#: Workers publish clicks for as long as they may earn, and sales for as long as refunds are
#: likely. Recording may stand still for days.
_UNPUBLISHED_DAYS: Final = 7
#: Of Unix milliseconds, in the mark of a click that is dated back.
_DATE_BYTES: Final = 6

_Value = TypeVar("_Value")


class Marks(Protocol):
    """The store of marks."""

    async def recall(self, key: str) -> bytes | Missing:
        """The value of a mark."""
        ...


class Recent:
    """Reads marks."""

    def __init__(self, marks: Marks) -> None:
        """`marks` may be away: then everything is unavailable."""
        self._marks = marks

    async def link(self, namespace: str, code: str) -> LinkRecord | Missing:
        """A link that an edge generated."""
        return await self._recall(new_link_key(namespace, code), LinkRecord.decode)

    async def click(self, token: str) -> ClickToken | Missing:
        """The click behind a short click id."""
        return await self._recall(new_click_key(token), _click)

    async def answered_click(self, workspace_id: UUID, dedupe: Dedupe) -> str | Missing:
        """The click id that a click with this key was answered."""
        return await self._recall(claim_key(workspace_id, dedupe), _answered)

    async def visitor(
        self, workspace_id: UUID, fingerprint: str
    ) -> ClickToken | Missing:
        """The click by which the visitor with a fingerprint is known."""
        return await self._recall(new_visitor_key(workspace_id, fingerprint), _click)

    async def customer(
        self, workspace_id: UUID, external_id: str
    ) -> CustomerRecord | Missing:
        """A customer whose first event an edge took."""
        key = new_customer_key(workspace_id, external_id)
        return await self._recall(key, CustomerRecord.decode)

    async def own_visitor(
        self, workspace_id: UUID, visitor_id: str
    ) -> ClickToken | Missing:
        """The first click of a visitor that the caller has an id of its own for."""
        key = new_own_visitor_key(workspace_id, visitor_id)
        return await self._recall(key, _click)

    async def sale(self, workspace_id: UUID, key: bytes) -> SaleRecord | Missing:
        """A sale that an edge took."""
        return await self._recall(new_sale_key(workspace_id, key), SaleRecord.decode)

    async def _recall(
        self, key: str, decode: Callable[[bytes], _Value]
    ) -> _Value | Missing:
        found = await self._marks.recall(key)
        if isinstance(found, Missing):
            return found
        try:
            return decode(found)
        except (ValueError, TypeError, AttributeError):
            return Missing.UNKNOWN  # of another release


class MarkShares:
    """Says who may leave marks while Redis fills.

    While Redis has room, every event leaves its own. While it fills, those without a key leave
    theirs within `HourlyShares`. An event beyond that is accepted all the same: workers find
    out what it repeats, and publish what it made known.
    """

    def __init__(
        self,
        is_filling: Callable[[], bool] = lambda: False,
        shares: HourlyShares | None = None,
    ) -> None:
        """`is_filling` says whether Redis fills."""
        self._is_filling = is_filling
        self._shares = shares or HourlyShares()

    def admit(
        self, link: LinkRecord | None, ip: str | None, at_ms: int, *, has_key: bool
    ) -> bool:
        """Whether an event may leave marks; it is counted if so."""
        if has_key or not self._is_filling():
            return True
        subjects: list[Subject] = [
            ("workspace", link.workspace_uuid if link else None),
            ("link", link.link_uuid if link else None),
        ]
        if network := truncate(ip) if ip else None:
            subjects.append(("sender", network))
        level = self._shares.exceeded(subjects, at_ms)
        if level is not None:
            UNMARKED.labels(level).inc()
        return level is None


def link_mark(link: LinkRecord) -> Mark:
    """Lets every edge know a generated link at once."""
    key = new_link_key(link.namespace, link.code)
    return Mark(key, link.encode(), _UNPUBLISHED_SECONDS)


def click_mark(token: str, click: ClickToken, window_days: int) -> Mark:
    """Lets every edge know what a short click id stands for, at most while it may earn."""
    days = min(window_days, _UNPUBLISHED_DAYS)
    return Mark(new_click_key(token), _bytes(click), days * _DAY_SECONDS)


def visitor_mark(
    workspace_id: UUID, fingerprint: str, click: ClickToken, window_days: int
) -> Mark:
    """Lets every edge know a visitor by the fingerprint, while a click may earn a lead."""
    key = new_visitor_key(workspace_id, fingerprint)
    return Mark(key, _bytes(click), window_days * _DAY_SECONDS)


def own_visitor_mark(
    workspace_id: UUID, visitor_id: str, click: ClickToken, window_days: int
) -> Mark:
    """Lets every edge know a visitor by the caller's own id, as long."""
    key = new_own_visitor_key(workspace_id, visitor_id)
    return Mark(key, _bytes(click), window_days * _DAY_SECONDS)


def customer_mark(
    workspace_id: UUID, external_id: str, customer: CustomerRecord, *, overrides: bool
) -> Mark:
    """Lets every edge know a customer at once."""
    key = new_customer_key(workspace_id, external_id)
    return Mark(key, customer.encode(), _UNPUBLISHED_SECONDS, overrides)


def sale_mark(workspace_id: UUID, key: bytes, sale: SaleRecord) -> Mark:
    """Lets every edge know a sale at once."""
    name = new_sale_key(workspace_id, key)
    return Mark(name, sale.encode(), _UNPUBLISHED_DAYS * _DAY_SECONDS)


def known_click(mark: bytes) -> ClickToken | None:
    """The click in the value of a visitor's mark; None where it is none of this release."""
    try:
        return _click(mark)
    except ValueError:
        return None


def _bytes(click: ClickToken) -> bytes:
    dated = b"" if click.dated is None else click.dated.to_bytes(_DATE_BYTES)
    return click.click_id.bytes + click.link_id.bytes + dated


def _answered(raw: bytes) -> str:
    hint = Hint.decode(raw, None)
    body = hint.reply.body if hint else None
    if not isinstance(body, dict):
        raise TypeError("no answer to a click")
    return str(body.get("click_id"))


def _click(raw: bytes) -> ClickToken:
    dated = int.from_bytes(raw[32:]) if raw[32:] else None
    return ClickToken(UUID(bytes=raw[:16]), UUID(bytes=raw[16:32]), dated)
