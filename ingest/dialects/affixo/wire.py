"""What clicks and conversions of Affixo's have in common."""

from typing import Annotated, Final

from pydantic import BaseModel, Field

from ingest.contracts.clickid import PREFIX
from ingest.contracts.storable import NAME_CHARS, Json
from ingest.dialects.body import doc, maybe, says_something
from ingest.dialects.refusals import answers, retry_headers
from ingest.dialects.spec.refusal import Refusal
from ingest.dialects.spec.requests import Reply
from ingest.dialects.spec.routes import Credential, Limit

_NOTHING: Final = (404, "unknown_resource")

_REFUSALS: Final = answers(
    {
        "not_found": _NOTHING,
        "method_not_allowed": (405, "method_not_allowed"),
        "body_too_large": (413, "payload_too_large"),
        "encoding_unsupported": (415, "unsupported_encoding"),
        "body_malformed": (400, "invalid_json"),
        "field_missing": (400, "{field}_required"),
        "field_invalid": (400, "{field}_invalid"),
        "link_unknown": (404, "link_not_found"),
        "program_unknown": _NOTHING,
        "customer_advanced": (409, "conversion_exists"),
        "sale_unknown": (404, "conversion_not_found"),
        "unauthorised": (401, "unauthorized"),
        "forbidden": (403, "insufficient_scope"),
        "rate_limited": (429, "rate_limited"),
        "switched_off": (503, "service_unavailable"),
        "failed": (500, "internal_error"),
    }
)

Code = Annotated[str, Field(max_length=NAME_CHARS)]
VisitorId = Annotated[
    str | None,
    doc("The visitor's id from an earlier answer.", "clk_AQGZ0mX7cAB-example"),
]
Fingerprint = Annotated[
    str | None,
    doc(
        "Your fingerprint of the visitor's browser, for a visitor without id.",
        "fp_7c1e",
    ),
]
Url = Annotated[
    str | None,
    doc("The page that the visitor is on.", "https://example.com/pricing?ref=SARAH"),
]
Referrer = Annotated[
    str | None,
    doc("The page that the visitor came from.", "https://blog.example.com/post"),
]

KEY: Final = Credential(scope="track")
LIMITS: Final = (Limit(name="affixo.key", by="key", per_minute=600),)


class Problem(BaseModel):
    """The body of a refusal."""

    error: str = doc("A code for what is wrong.", "ref_required")
    need: str | None = maybe("The scope that the key lacks.", "track")
    detail: str | None = maybe(
        "What is wrong with the field.", "must be at most 255 characters"
    )


def own(visitor_id: str | None) -> str | None:
    """The visitor's id, if it is the caller's own and none of our click ids."""
    if not says_something(visitor_id) or visitor_id.startswith(PREFIX):
        return None
    return visitor_id if len(visitor_id) <= NAME_CHARS else None


def refuse(refusal: Refusal) -> Reply:
    """A refusal in the vendor's flat body."""
    status, error = _REFUSALS[refusal.code]
    body: dict[str, Json] = {"error": error.format(field=refusal.field)}
    if refusal.code == "forbidden":
        body["need"] = refusal.field
    if refusal.code in {"field_missing", "field_invalid"} and refusal.problem:
        body["detail"] = refusal.problem
    return Reply(status, body, retry_headers(refusal, status))
