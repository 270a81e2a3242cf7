"""Turns an event of a batch into the request that it stands for. Pure."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

import orjson

from ingest.bulk.reader import Read
from ingest.bulk.routing import NamedRoute, RouteTable
from ingest.contracts.storable import Json
from ingest.core.client_ip import Proxies
from ingest.dialects.batch import BATCH, BatchEvent
from ingest.dialects.body import validated
from ingest.dialects.spec import (
    ByCode,
    ByCustomer,
    ByFingerprint,
    Dialect,
    Draft,
    Endpoint,
    FirstOf,
    RawRequest,
    Refusal,
    Target,
)
from ingest.http.handlers import BODY_BYTES

_NO_OBJECT: Final = "is no JSON object"
#: No trusted proxies: an address is read as it is.
_NOBODY: Final = Proxies(())


class BulkItem(NamedTuple):
    """An event's request, and its route."""

    dialect: Dialect
    endpoint: Endpoint
    raw: RawRequest
    #: When it happened, Unix milliseconds; None: now.
    at: int | None
    idempotency_key: str | None

    @property
    def is_forwarded(self) -> bool:
        """Whether it states what only a trusted server may: address or time."""
        return self.raw.ip is not None or self.at is not None


class InvalidItem(Exception):
    """The event is invalid; `dialect` words the refusal."""

    def __init__(self, dialect: Dialect, refusal: Refusal) -> None:
        super().__init__(refusal.code)
        self.dialect = dialect
        self.refusal = refusal


def item(read: Read, routes: RouteTable) -> BulkItem:
    """The request that an event stands for; raises InvalidItem."""
    if isinstance(read, Refusal) or not isinstance(read, dict):
        raise InvalidItem(
            BATCH, Refusal("field_invalid", field="event", problem=_NO_OBJECT)
        )
    dialect = BATCH  # it words refusals of fields beside the body
    try:
        event = validated(BatchEvent, read)
        ip = None if event.ip is None else _address(event.ip)
        at = None if event.occurred_at is None else _moment(event.occurred_at)
        named = routes.find(event.path)
        dialect, endpoint = named.dialect, named.endpoint
        if endpoint is None:
            raise Refusal(named.why_not)  # noqa: TRY301 -- mapped like all others
        raw = _raw(event, named, ip)
        return BulkItem(dialect, endpoint, raw, at, event.idempotency_key)
    except Refusal as refusal:
        raise InvalidItem(dialect, refusal) from None


def _raw(event: BatchEvent, named: NamedRoute, ip: str | None) -> RawRequest:
    headers: dict[str, str] = {}
    if event.user_agent is not None:
        headers["user-agent"] = event.user_agent
    if event.referrer is not None:
        headers["referer"] = event.referrer
    if event.idempotency_key is not None:
        headers["idempotency-key"] = event.idempotency_key
    return RawRequest(
        path=named.parameters,
        headers=headers,
        body=b"" if event.body is None else _body(event.body),
        ip=ip,
    )


def _body(value: Json) -> bytes:
    try:
        raw = orjson.dumps(value)
    except TypeError:  # deeper than it writes, and so than any dialect reads
        raise Refusal("body_malformed") from None
    if len(raw) > BODY_BYTES:
        raise Refusal("body_too_large")
    return raw


def _address(text: str) -> str:
    found = _NOBODY.caller(text, "")
    if found is None:
        raise Refusal("field_invalid", field="ip", problem="must be an IP address")
    return found


def _moment(text: str) -> int:
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is not None:
            return max(0, int(moment.timestamp() * 1000))
    except (ValueError, OverflowError):
        pass
    problem = "must be a time like 2026-01-31T12:00:00Z"
    raise Refusal("field_invalid", field="occurred_at", problem=problem)


def subjects(drafts: Sequence[Draft], key: str | None) -> set[Any]:
    """The subjects of an item's events: events of one subject are processed in order."""
    found: set[Any] = set() if key is None else {("key", key)}
    for draft in drafts:
        if draft.dedupe is not None:
            found.add(draft.dedupe)
        if draft.external_id is not None:
            found.add(("customer", draft.external_id))
        if draft.fingerprint is not None:
            found.add(("fingerprint", draft.fingerprint))
        if not isinstance(draft.target, ByCode):
            found.update(_named(draft.target))
    return found


def _named(target: Target) -> Iterator[tuple[str, str]]:
    for each in target.targets if isinstance(target, FirstOf) else (target,):
        if isinstance(each, ByCustomer):
            yield "customer", each.external_id
        elif isinstance(each, ByFingerprint):
            yield "fingerprint", each.fingerprint
