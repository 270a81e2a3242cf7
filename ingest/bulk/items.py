"""Turns an event of a batch into the request that it stands for. Pure."""

from datetime import datetime
from typing import Final, NamedTuple

import msgspec
from msgspec import Raw

from ingest.bulk.routing import NamedRoute, RouteTable
from ingest.core.client_ip import Proxies
from ingest.dialects.batch import BATCH, BatchEvent
from ingest.dialects.body import json_value, mended, validated
from ingest.dialects.spec.refusal import Refusal
from ingest.dialects.spec.requests import RawRequest
from ingest.dialects.spec.routes import Dialect, Endpoint
from ingest.http.handlers import BODY_BYTES

_NO_OBJECT: Final = "is no JSON object"
#: An event's JSON: its body, and as much for what would be headers.
_EVENT_BYTES: Final = 2 * BODY_BYTES
_TOO_LARGE: Final = f"an event holds at most {_EVENT_BYTES // 1024} KiB"
#: No trusted proxies: an address is read as it is.
_NOBODY: Final = Proxies(())


class _Unread(msgspec.Struct, frozen=True, gc=False):
    """The fields of an event, as JSON; empty where there is none."""

    path: Raw = Raw()
    body: Raw = Raw()
    idempotency_key: Raw = Raw()
    ip: Raw = Raw()
    user_agent: Raw = Raw()
    referrer: Raw = Raw()
    occurred_at: Raw = Raw()


_UNREAD: Final = msgspec.json.Decoder(_Unread)
#: All but the body.
_HEADERS: Final = tuple(each for each in _Unread.__struct_fields__ if each != "body")


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


def item(raw: bytes, routes: RouteTable) -> BulkItem:
    """The request that an event's JSON stands for; raises InvalidItem."""
    dialect = BATCH  # it words refusals of fields beside the body
    try:
        body, event = _read(raw)
        ip = None if event.ip is None else _address(event.ip)
        at = None if event.occurred_at is None else _moment(event.occurred_at)
        named = routes.find(event.path)
        dialect, endpoint = named.dialect, named.endpoint
        if endpoint is None:
            raise Refusal(named.why_not)  # noqa: TRY301 -- mapped like all others
        if len(body) > BODY_BYTES:
            raise Refusal("body_too_large")  # noqa: TRY301 -- likewise
        request = _request(event, body, named, ip)
        return BulkItem(dialect, endpoint, request, at, event.idempotency_key)
    except Refusal as refusal:
        raise InvalidItem(dialect, refusal) from None


def _read(raw: bytes) -> tuple[bytes, BatchEvent]:
    """The body's JSON, empty if there is none, and the other fields; raises Refusal."""
    if len(raw) > _EVENT_BYTES:
        raise Refusal("body_too_large", problem=_TOO_LARGE)
    try:
        unread = _unread(raw)
    except (msgspec.DecodeError, RecursionError, Refusal):
        raise Refusal("field_invalid", field="event", problem=_NO_OBJECT) from None
    fields = {
        name: json_value(bytes(getattr(unread, name)))
        for name in _HEADERS
        if getattr(unread, name)
    }
    body = bytes(unread.body)
    return b"" if body == b"null" else body, validated(BatchEvent, fields)


def _unread(raw: bytes) -> _Unread:
    try:
        return _UNREAD.decode(raw)
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError:
        return _UNREAD.decode(mended(raw))


def _request(
    event: BatchEvent, body: bytes, named: NamedRoute, ip: str | None
) -> RawRequest:
    headers: dict[str, str] = {}
    if event.user_agent is not None:
        headers["user-agent"] = event.user_agent
    if event.referrer is not None:
        headers["referer"] = event.referrer
    if event.idempotency_key is not None:
        headers["idempotency-key"] = event.idempotency_key
    return RawRequest(path=named.parameters, headers=headers, body=body, ip=ip)


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
