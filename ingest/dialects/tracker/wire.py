"""What clicks and conversions of our own have in common."""

import re
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BaseModel, Field, WithJsonSchema

from ingest.contracts.storable import Json
from ingest.dialects.body import (
    WHOLE,
    Body,
    LenientObject,
    LenientText,
    OrNothing,
    doc,
    json_object,
    lenient_integer,
    maybe,
)
from ingest.dialects.refusals import answers, retry_headers
from ingest.dialects.spec.events import Draft, Outcome
from ingest.dialects.spec.refusal import Refusal
from ingest.dialects.spec.requests import Reply
from ingest.dialects.spec.routes import Credential

#: How long a client may keep an event that it could not send.
_OLDEST: Final = 7 * 24 * 3600 * 1000

_REFUSALS: Final = answers(
    {
        "not_found": (404, "There is no such route"),
        "method_not_allowed": (405, "The route takes POST"),
        "body_too_large": (413, "The body is larger than 64 KiB"),
        "encoding_unsupported": (415, "The body must not be compressed"),
        "body_malformed": (400, "The body is no JSON object"),
        "field_missing": (400, "{field} is missing"),
        "field_invalid": (400, "{field} {problem}"),
        "link_unknown": (404, "No link has this code"),
        "link_inactive": (404, "The link is switched off"),
        "program_unknown": (404, "No program has this number"),
        "click_unknown": (
            404,
            "No click has this id; an id of the client's own needs a key beside it",
        ),
        "click_expired": (410, "The click is too old to earn"),
        "credential_missing": (401, "A sale needs a key"),
        "unauthorised": (401, "The key does not exist or is revoked"),
        "forbidden": (403, "The key lacks the scope {field}"),
        "origin_unknown": (403, "The key may not be used from {problem}"),
        "rate_limited": (429, "Too many requests"),
        "switched_off": (503, "Tracking is switched off"),
        "overloaded": (503, "Nothing can be stored now"),
        "failed": (500, "The edge has a bug"),
    }
)

OWN_ID: Final = re.compile(r"[A-Za-z0-9_-]{16,36}")


def _own_id(value: str) -> str:
    if not OWN_ID.fullmatch(value):
        raise ValueError("must be 16 to 36 letters, digits, hyphens or underscores")
    return value


OwnId = Annotated[
    str,
    AfterValidator(_own_id),
    Field(json_schema_extra={"pattern": f"^{OWN_ID.pattern}$"}),
]


class Event(Body):
    """What every event may say."""

    age: Annotated[int | None, WHOLE, OrNothing()] = maybe(
        "How long ago it happened, in milliseconds: of an event that could not be sent at "
        "once. At most a week counts.",
        0,
    )
    program: Annotated[Any, WithJsonSchema({})] = maybe(
        "The number of the program that the link has to be of; what is none is ignored.",
        1,
    )
    key: LenientText = maybe(
        "A publishable key, unless an `Authorization` header has one.", "rt_pk_example"
    )
    properties: LenientObject = maybe(
        "Anything else about the event; it is stored with it.", {"plan": "pro"}
    )

    @property
    def milliseconds_old(self) -> int:
        return min(max(self.age or 0, 0), _OLDEST)

    @property
    def said(self) -> dict[str, Json]:
        """What is stored as properties."""
        number = lenient_integer({"program": self.program}, "program")
        return {**(self.properties or {}), **({"program": number} if number else {})}


class Problem(BaseModel):
    """What a refusal says."""

    error: str = doc("A word for what is wrong.", "link_unknown")
    message: str = doc("What is wrong.", "No link has this code")


def _key_in(body: bytes) -> str | None:
    try:
        key = json_object(body).get("key")
    except Refusal:
        return None  # parsing says what is wrong
    return key if isinstance(key, str) and key else None


def judge(outcome: Outcome) -> Draft:
    asked, link = outcome.draft.properties.get("program"), outcome.link
    if link and isinstance(asked, int) and asked != link.program_number:
        raise Refusal("link_unknown")
    return outcome.draft


def refuse(refusal: Refusal) -> Reply:
    status, words = _REFUSALS[refusal.code]
    text = words.format(field=refusal.field, problem=refusal.problem or "there")
    body: Json = {"error": refusal.code, "message": text}
    return Reply(status, body, retry_headers(refusal, status))


CREDENTIAL: Final = Credential(is_optional=True, publishable="publish", in_body=_key_in)
