"""Batches: up to 1,000 events of any dialect in one request, `POST /v1/events`.

The body is a JSON array, or NDJSON: one object a line. It is at most 2 MiB, plain or with
the `Content-Encoding` `gzip` or `zstd`. Each event names the path and the body of the
request that it would be by itself:

`{"path": "/api/v1/track/click", "body": {"affiliate_url": "https://…?aff=SARAH"},
"idempotency_key": "8f14e45f", "ip": "203.0.113.7", "user_agent": "Mozilla/5.0 …"}`

The same limits, switches and rules apply as to that request, with these differences:

- The request's `Authorization: Bearer` key is the key of every event, whatever header its
  path takes. It needs the scope `track`, and for each event the scope of the event's path.
- The key applies on public paths too: links and programs of other workspaces are unknown.
- What an event does not say of its visitor is unknown. The sender's own address counts for
  limits by address, and is not recorded.
- `ip` and `occurred_at` need the scope `forward`.

Events of one customer or fingerprint are taken in their order; others at once. Of events
with one idempotency key the first that is not refused counts. Each event has a result at its place in `results`: `accepted` or `duplicate` with the
event's id, or `refused` with a code, and always the status and the body that its dialect
answers. The status is 200 if all events are durable, 207 if some are refused, and 503 if
none can be stored. A batch that is sent again with the same idempotency keys, in whole or
in part, records nothing twice.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal
from uuid import UUID

from pydantic import BaseModel, Field

from ingest.contracts.storable import Json
from ingest.dialects.body import SAYS_SOMETHING, Body, doc, example, maybe
from ingest.dialects.refusals import answers, retry_headers
from ingest.dialects.spec.refusal import Refusal, RefusalCode
from ingest.dialects.spec.requests import Reply
from ingest.dialects.spec.routes import Credential, Dialect, Route, limited

EVENTS: Final = 1_000
#: Of a body, before it is decompressed and after.
BYTES: Final = 2 * 1024 * 1024

_PATH_CHARS: Final = 2048
_KEY_CHARS: Final = 255
_RETRY_AFTER: Final = 5  # seconds, where a refusal does not know better


_REFUSALS: Final = answers(
    {
        "not_found": (404, "There is no such path"),
        "method_not_allowed": (405, "Events are sent by POST"),
        "body_too_large": (413, f"A batch holds at most {EVENTS:,} events and 2 MiB"),
        "encoding_unsupported": (
            415,
            "A batch comes plain, or compressed by gzip or zstd",
        ),
        "body_malformed": (
            400,
            "The body is no JSON array and no lines of JSON objects",
        ),
        "field_missing": (400, "{field} is required"),
        "field_invalid": (400, "{field} {problem}"),
        "link_unknown": (400, "The event cannot be taken"),
        "credential_missing": (
            401,
            "A batch takes an API key: Authorization: Bearer KEY",
        ),
        "credential_malformed": (401, "The header is not Authorization: Bearer KEY"),
        "unauthorised": (401, "There is no such API key"),
        "forbidden": (403, "The API key lacks the scope {field}"),
        "rate_limited": (429, "Too many batches within a minute"),
        "switched_off": (503, "Batches are switched off"),
        "overloaded": (503, "There is no durable place for events right now"),
        "failed": (500, "Something went wrong here"),
    }
)

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

    path: Annotated[str, Field(pattern=SAYS_SOMETHING, max_length=_PATH_CHARS)] = doc(
        "The path that the event would be sent to as a request of its own."
    )
    body: Any = maybe("The body that this request would have.")
    idempotency_key: Annotated[
        str | None, Field(min_length=1, max_length=_KEY_CHARS)
    ] = maybe("Events with the same key are one event for 30 days.")
    ip: str | None = maybe(
        "The visitor's address. It takes a key with the scope `forward`."
    )
    user_agent: str | None = maybe("The visitor's browser.")
    referrer: str | None = maybe(
        "The page that the visitor was on.", "https://example.com/pricing"
    )
    occurred_at: str | None = maybe(
        "When it happened, in RFC 3339 with an offset; now if it says nothing. It "
        "takes a key with the scope `forward`.",
        "2026-09-21T13:46:40Z",
    )


class BatchResult(BaseModel):
    """What became of an event. `status` and `body` are its dialect's answer."""

    result: Literal["accepted", "duplicate", "refused"] = doc(
        "`accepted`: durable. `duplicate`: an event that came before, or nothing "
        "to record. `refused`: not recorded.",
        "accepted",
    )
    id: str | None = maybe(
        "The event's id; null if there was nothing to record, since what was asked "
        "for exists already.",
        "01a0e5f8-3400-7000-8000-000000000000",
    )
    code: RefusalCode | None = maybe("Why the event is refused.", "rate_limited")
    retryable: bool | None = maybe(
        "Whether the same event may be taken later.", example=True
    )
    retry_after: int | None = maybe("After how many seconds to send it again.", 5)
    status: int = doc("The status that the event's own path answers.", 200)
    body: Any = doc(
        "The body that the event's own path answers.",
        {"success": True, "data": {"tracked": True}},
    )


class BatchAnswer(BaseModel):
    """What became of a batch, event by event in their order."""

    accepted: int = doc("How many events are durable.", 2)
    duplicates: int = doc("How many came before.", 0)
    refused: int = doc("How many are not recorded.", 0)
    results: list[BatchResult] = doc("What became of each event, in their order.")


class _Error(BaseModel):
    code: RefusalCode = doc("A code for what is wrong.", "body_too_large")
    message: str = doc(
        "What is wrong, in words.", "A batch holds at most 1,000 events and 2 MiB"
    )


class _Problem(BaseModel):
    error: _Error = doc("Why no event of the batch was read.")


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
    error: Json = {"code": refusal.code, "message": message}
    return Reply(status, {"error": error}, retry_headers(refusal, status))


_NAME: Final = "batch"

#: Its limits count batches; each event in one counts against the limits of its own route.
ROUTE: Final = limited(
    _NAME,
    Route(
        path="/v1/events",
        summary="Record up to 1,000 events of any dialect",
        body=BatchEvent,
        reply=BatchAnswer,
        credential=Credential(scope="track"),
    ),
)

#: Its events are other dialects': it has no endpoints, only a name, a path and words.
BATCH: Final = Dialect(
    name=_NAME,
    prefix=ROUTE.path,
    endpoints=(),
    refuse=_refuse,
    problem=_Problem,
    about=__doc__,
)
