"""Marks in Redis of what edges accepted and workers may not have published yet.

Every edge writes them, and every edge reads them. They are hints: without them, the
directory and the worker decide.
"""

from collections import Counter
from collections.abc import Callable
from typing import Final, Protocol, TypeVar
from uuid import UUID

from ingest.contracts.clickid import ClickToken
from ingest.contracts.directory import CustomerRecord, LinkRecord
from ingest.contracts.marks import (
    new_click_key,
    new_customer_key,
    new_link_key,
    new_visitor_key,
)
from ingest.contracts.metrics.edge import UNMARKED
from ingest.core.client_ip import truncate
from ingest.core.values import Mark, Missing

#: Long after a worker that lives would have published it.
_UNPUBLISHED_SECONDS: Final = 24 * 3600
_DAY_SECONDS: Final = 24 * 3600
#: Workers publish clicks for as long as they may earn. Recording may stand still for days.
_UNPUBLISHED_CLICK_DAYS: Final = 7

#: Events of an hour that leave marks on one edge, some 30 MB of them, while Redis fills.
_HOURLY: Final = 100_000
_HOUR_MS: Final = 3_600_000
_PARTS: Final = {"workspace": 2, "link": 4, "sender": 16}

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

    While Redis has room, every event leaves its own. While it fills, what comes without a key
    leaves a limited number an hour: half of it for one workspace, a quarter for one link, a
    sixteenth for one network. An event beyond that is accepted all the same: workers find out
    what it repeats, and publish what it made known.
    """

    def __init__(
        self, is_filling: Callable[[], bool] = lambda: False, hourly: int = _HOURLY
    ) -> None:
        """`is_filling` says whether Redis fills."""
        self._is_filling = is_filling
        self._hourly = hourly
        self._hour = 0
        self._counts: Counter[tuple[str, object]] = Counter()

    def admit(
        self, link: LinkRecord | None, ip: str | None, at_ms: int, *, has_key: bool
    ) -> bool:
        """Whether an event may leave marks; it is counted if so."""
        if has_key or not self._is_filling():
            return True
        if self._hour != at_ms // _HOUR_MS:
            self._hour = at_ms // _HOUR_MS
            self._counts.clear()
        subjects: list[tuple[str, object]] = [
            ("workspace", link.workspace_uuid if link else None),
            ("link", link.link_uuid if link else None),
        ]
        if network := truncate(ip) if ip else None:
            subjects.append(("sender", network))
        for level, subject in subjects:
            if self._counts[level, subject] >= -(-self._hourly // _PARTS[level]):
                UNMARKED.labels(level).inc()
                return False
        self._counts.update(subjects)
        return True


def link_mark(link: LinkRecord) -> Mark:
    """Lets every edge know a generated link at once."""
    key = new_link_key(link.namespace, link.code)
    return Mark(key, link.encode(), _UNPUBLISHED_SECONDS)


def click_mark(token: str, click: ClickToken, window_days: int) -> Mark:
    """Lets every edge know what a short click id stands for, at most while it may earn."""
    days = min(window_days, _UNPUBLISHED_CLICK_DAYS)
    return Mark(new_click_key(token), _bytes(click), days * _DAY_SECONDS)


def visitor_mark(
    workspace_id: UUID, fingerprint: str, click: ClickToken, window_days: int
) -> Mark:
    """Lets every edge know a visitor by the fingerprint, while a click may earn a lead."""
    key = new_visitor_key(workspace_id, fingerprint)
    return Mark(key, _bytes(click), window_days * _DAY_SECONDS)


def customer_mark(
    workspace_id: UUID, external_id: str, customer: CustomerRecord
) -> Mark:
    """Lets every edge know a customer at once."""
    key = new_customer_key(workspace_id, external_id)
    return Mark(key, customer.encode(), _UNPUBLISHED_SECONDS)


def known_click(mark: bytes) -> ClickToken | None:
    """The click in the value of a visitor's mark; None where it is none of this release."""
    try:
        return _click(mark)
    except ValueError:
        return None


def _bytes(click: ClickToken) -> bytes:
    return click.click_id.bytes + click.link_id.bytes


def _click(raw: bytes) -> ClickToken:
    return ClickToken(UUID(bytes=raw[:16]), UUID(bytes=raw[16:]))
