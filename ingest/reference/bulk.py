"""The operation `POST /v1/events` of the OpenAPI document."""

from collections.abc import Mapping
from typing import Any, Final

import orjson

from ingest.contracts.ids import first_id_at
from ingest.contracts.storable import Json
from ingest.dialects.batch import (
    BATCH,
    EVENTS,
    ROUTE,
    BatchEvent,
    answer,
    refused,
    taken,
)
from ingest.dialects.spec.refusal import Refusal, RefusalCode
from ingest.dialects.spec.requests import Reply
from ingest.reference.code_samples import code_samples
from ingest.reference.refusals import WHEN
from ingest.reference.schemas import JSON, Node, Schemas, Shown, responses

_EVENT: Final = first_id_at(1_790_000_000_000)
_TRACKED: Final[Json] = {"success": True, "data": {"tracked": True}}

_DESCRIPTION: Final = (
    "The body is an array of events, or NDJSON: one event a line. It has at most 1,000 "
    "events and 2 MiB, before and after a `Content-Encoding` of `gzip` or `zstd`. Needs an "
    "API key with the scope `track`, and for each event the scope of its path; `ip` and "
    "`occurred_at` need the scope `forward`. Each event counts against the limits of its "
    "path. An invalid event is refused at its place, and the others are taken."
)

_CODES: Final[tuple[RefusalCode, ...]] = (
    "method_not_allowed",
    "body_too_large",
    "encoding_unsupported",
    "body_malformed",
    "credential_missing",
    "credential_malformed",
    "unauthorised",
    "forbidden",
    "rate_limited",
    "switched_off",
    "overloaded",
    "failed",
)
#: Reasons that differ from those of a single event.
_WHEN: Final[Mapping[RefusalCode, str]] = {
    **WHEN,
    "body_too_large": "There are more than 1,000 events, or more than 2 MiB.",
    "encoding_unsupported": "The body is compressed, and not by gzip or zstd.",
    "body_malformed": "The body is incomplete, or neither an array nor lines of objects.",
}


_SOME: Final = "Some events were refused; the others are durable."
_NONE: Final = (
    "Neither the stream nor the disk can take any of the events. Send them later."
)


def operation(schemas: Schemas) -> Node:
    """The operation of `POST /v1/events`."""
    content = _content(schemas)
    return {
        "tags": [BATCH.name],
        "operationId": "post_v1_events",
        "summary": ROUTE.summary,
        "description": _DESCRIPTION,
        "security": [{"authorization": []}],
        "parameters": [],
        "requestBody": {"required": True, "content": {JSON: content}},
        "responses": _responses(schemas),
        "x-code-samples": code_samples(ROUTE, ROUTE.path, content["example"]),
    }


def _content(schemas: Schemas) -> Node:
    # An element that is no event is refused alone.
    events = {"anyOf": [schemas.ref(BatchEvent), {}]}
    array = {"type": "array", "maxItems": EVENTS, "items": events}
    single = {"type": "object", "description": "a single event; more of them as lines"}
    shown = schemas.of(BatchEvent)["examples"][0]
    lead = {
        "path": "/v1/track/lead",
        "body": {"ref": "SARAH", "external_id": "user_001"},
        "occurred_at": "2026-09-21T13:46:40Z",
    }
    return {"schema": {"anyOf": [array, single]}, "example": [shown, lead]}


def _responses(schemas: Schemas) -> Node:
    both = _answer(_accepted(), _accepted(is_repeat=True))
    some = _answer(_accepted(), _refused("link_unknown", 404))
    none = _answer(_refused("overloaded", 503))
    told, refuses = schemas.ref(ROUTE.reply), schemas.ref(BATCH.problem)
    kinds = {200: told, 207: told, 503: {"anyOf": [told, refuses]}}
    return responses(
        [
            Shown("accepted", "", "", both),
            Shown("some_refused", "", _SOME, some),
            Shown("none_kept", "", _NONE, none),
            *(
                Shown(code, "", _WHEN[code], BATCH.refuse(Refusal(code, field="track")))
                for code in _CODES
            ),
        ],
        lambda status: kinds.get(status, refuses),
    )


def _answer(*results: dict[str, Any]) -> Reply:
    reply = answer(results)
    # As a client parses it.
    return Reply(reply.status, orjson.loads(orjson.dumps(reply.body)), reply.headers)


def _accepted(*, is_repeat: bool = False) -> dict[str, Any]:
    return taken(_EVENT, Reply(200, _TRACKED), is_repeat=is_repeat)


def _refused(code: RefusalCode, status: int) -> dict[str, Any]:
    return refused(Refusal(code), Reply(status, {"error": code}))
