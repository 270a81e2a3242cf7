"""Batches: events of any dialect, many in one request, `POST /v1/events`. Our own words.

The body is a JSON array, or NDJSON: an object a line. It holds up to 1,000 events and 2 MiB,
and comes plain or with the `Content-Encoding` `gzip` or `zstd`. Each event says to which
path it would have been sent by itself and with which body:

`{"path": "/api/v1/track/click", "body": {"affiliate_url": "https://…?aff=SARAH"},
"idempotency_key": "8f14e45f", "ip": "203.0.113.7", "user_agent": "Mozilla/5.0 …"}`

It is judged as if it had been, by the same limits, switches and rules, with these differences:

- The request's `Authorization: Bearer` key is that of every event, whatever header its path
  takes. It needs the scope `track`, and for an event whichever scope the event's path wants.
- Every event is judged by that key, also on a path that anybody may call: links and programs
  of other workspaces are unknown to it.
- What an event does not say of its visitor is unknown. The batch's own address is a server's:
  it counts for limits by address, and is not recorded.
- To say from which address (`ip`), or when (`occurred_at`), takes the scope `forward`.

Events of one customer, fingerprint or idempotency key are taken in the order in which they
stand; others at once. Each has a result of its own, at its place in `results`: `accepted` or
`duplicate` with the event's id, or `refused` with a code, and always the status and the body
that the event's dialect would have answered. The answer is 200 where all events are durable,
207 where some were refused, and 503 where none of them found a place. Whoever sends a batch
again with the same idempotency keys, in whole or in part, doubles nothing.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, Literal
from uuid import UUID

from pydantic import BaseModel, Field

from ingest.contracts.storable import Json
from ingest.dialects.body import SAYS_SOMETHING, Body, example
from ingest.dialects.spec import (
    Credential,
    Dialect,
    Refusal,
    RefusalCode,
    Reply,
    Route,
)

EVENTS: Final = 1_000
#: Of a body, before it is decompressed and after.
BYTES: Final = 2 * 1024 * 1024

_PATH_CHARS: Final = 2048
_KEY_CHARS: Final = 255
_RETRY_AFTER: Final = 5  # seconds, where a refusal does not know better

_NO_EVENT: Final = (400, "The event cannot be taken")

_REFUSALS: Final[Mapping[RefusalCode, tuple[int, str]]] = {
    "not_found": (404, "There is no such path"),
    "method_not_allowed": (405, "Events are sent by POST"),
    "body_too_large": (413, f"A batch holds at most {EVENTS:,} events and 2 MiB"),
    "encoding_unsupported": (415, "A batch comes plain, or compressed by gzip or zstd"),
    "body_malformed": (400, "The body is no JSON array and no lines of JSON objects"),
    "field_missing": (400, "{field} is required"),
    "field_invalid": (400, "{field} {problem}"),
    "link_unparsable": _NO_EVENT,
    "link_code_missing": _NO_EVENT,
    "link_unknown": _NO_EVENT,
    "link_incomplete": _NO_EVENT,
    "link_inactive": _NO_EVENT,
    "program_unknown": _NO_EVENT,
    "partner_unknown": _NO_EVENT,
    "click_unknown": _NO_EVENT,
    "click_expired": _NO_EVENT,
    "customer_unknown": _NO_EVENT,
    "customer_elsewhere": _NO_EVENT,
    "customer_advanced": _NO_EVENT,
    "credential_missing": (401, "A batch takes an API key: Authorization: Bearer KEY"),
    "credential_malformed": (401, "The header is not Authorization: Bearer KEY"),
    "unauthorised": (401, "There is no such API key"),
    "forbidden": (403, "The API key lacks the scope {field}"),
    "rate_limited": (429, "Too many events within a minute"),
    "switched_off": (503, "Batches are switched off"),
    "overloaded": (503, "There is no durable place for events right now"),
    "failed": (500, "Something went wrong here"),
}

#: What may be otherwise when the same event is sent again.
_PASSING: Final[frozenset[RefusalCode]] = frozenset(
    {"rate_limited", "switched_off", "overloaded", "failed"}
)


class BatchEvent(Body):
    """One event of a batch: what would have been a request of its own."""

    model_config = example(
        path="/api/v1/track/click",
        body={"affiliate_url": "https://example.com/?aff=SARAH"},
        idempotency_key="8f14e45f-ceea-467f",
        ip="203.0.113.7",
        user_agent="Mozilla/5.0",
    )

    path: Annotated[str, Field(pattern=SAYS_SOMETHING, max_length=_PATH_CHARS)]
    body: Any = None
    idempotency_key: Annotated[
        str | None, Field(min_length=1, max_length=_KEY_CHARS)
    ] = None
    #: The visitor's: address, agent, and the page that it was on.
    ip: str | None = None
    user_agent: str | None = None
    referrer: str | None = None
    #: RFC 3339, with an offset.
    occurred_at: str | None = None


class BatchResult(BaseModel):
    """What became of an event. `status` and `body` are its dialect's answer."""

    result: Literal["accepted", "duplicate", "refused"]
    #: Null where there was nothing to record: what was asked for exists already.
    id: str | None = None
    #: Of a refused one: why, and whether it may be sent again, after so many seconds.
    code: RefusalCode | None = None
    retryable: bool | None = None
    retry_after: int | None = None
    status: int
    body: Any


class BatchAnswer(BaseModel):
    """What became of a batch, event by event in their order."""

    accepted: int
    duplicates: int
    refused: int
    results: list[BatchResult]


class _Error(BaseModel):
    code: RefusalCode
    message: str


class _Problem(BaseModel):
    error: _Error


def taken(event_id: UUID | None, reply: Reply, *, is_repeat: bool) -> dict[str, Any]:
    """The result of an event that is durable, or of one that there was no need of."""
    result = "duplicate" if is_repeat or event_id is None else "accepted"
    return {
        "result": result,
        "id": event_id,
        "status": reply.status,
        "body": reply.body,
    }


def refused(refusal: Refusal, reply: Reply) -> dict[str, Any]:
    """The result of an event that was refused; `reply` is how its dialect says so."""
    told: dict[str, Any] = {
        "result": "refused",
        "code": refusal.code,
        "retryable": refusal.code in _PASSING,
        "status": reply.status,
        "body": reply.body,
    }
    if refusal.code in _PASSING:
        told["retry_after"] = max(1, refusal.retry_after or _RETRY_AFTER)
    return told


def answer(results: Sequence[dict[str, Any]]) -> Reply:
    """The answer to a batch, of the results of its events."""
    said = [result["result"] for result in results]
    counts = {name: said.count(name) for name in ("accepted", "duplicate", "refused")}
    body: Json = {
        "accepted": counts["accepted"],
        "duplicates": counts["duplicate"],
        "refused": counts["refused"],
        "results": [*results],
    }
    if results and all(result.get("code") == "overloaded" for result in results):
        return Reply(503, body, {"Retry-After": "1"})
    return Reply(207 if counts["refused"] else 200, body)


def _refuse(refusal: Refusal) -> Reply:
    status, words = _REFUSALS[refusal.code]
    message = words.format(field=refusal.field, problem=refusal.problem)
    if refusal.problem and refusal.code in {"body_too_large", "body_malformed"}:
        message = f"{message}: {refusal.problem}"
    wait = _RETRY_AFTER if refusal.retry_after is None else refusal.retry_after
    headers = {"Retry-After": str(max(1, wait))} if status in {429, 503} else {}
    error: Json = {"code": refusal.code, "message": message}
    return Reply(status, {"error": error}, headers)


ROUTE: Final = Route(
    method="POST",
    path="/v1/events",
    summary="Record up to 1,000 events of any dialect",
    body=BatchEvent,
    reply=BatchAnswer,
    credential=Credential(scope="track"),
)

#: Its events are other dialects': it has no endpoints, only a name, a path and words.
BATCH: Final = Dialect(
    name="batch",
    prefix=ROUTE.path,
    endpoints=(),
    refuse=_refuse,
    problem=_Problem,
)
