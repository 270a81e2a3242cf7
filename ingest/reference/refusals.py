"""Every refusal that a route may give, with its dialect's error body.

Bodies that lack a field, or have a wrong one, are sent to the dialect to find its answers.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple, get_args

from ingest.contracts.storable import Json
from ingest.dialects.spec.refusal import Refusal, RefusalCode
from ingest.dialects.spec.requests import Reply
from ingest.dialects.spec.routes import Dialect, Endpoint, Query
from ingest.reference.examples import Example, parse

#: When a request is refused. The dialect words the refusal.
WHEN: Final[Mapping[RefusalCode, str]] = {
    "not_found": "The path does not exist.",
    "method_not_allowed": "The path takes another method.",
    "body_too_large": "The body is larger than 64 KiB.",
    "encoding_unsupported": "The body is compressed.",
    "body_malformed": "The body is incomplete, not a JSON object, or nested too deeply.",
    "field_missing": "A required field is absent, null or blank.",
    "field_invalid": "A field has an invalid value.",
    "link_unparsable": "The link is not a URL.",
    "link_code_missing": "The link has no code.",
    "link_unknown": "The link does not exist.",
    "link_incomplete": "The link belongs to no program or no partner.",
    "link_inactive": "The link is switched off.",
    "program_unknown": "The program does not exist.",
    "partner_unknown": "The partner does not exist.",
    "click_unknown": "The click does not exist.",
    "click_expired": "The click is older than the program's attribution window.",
    "customer_unknown": "The customer does not exist.",
    "customer_elsewhere": "The customer belongs to another program.",
    "customer_advanced": "The customer has this status or a later one already.",
    "sale_unknown": "No sale of this id is known. The refund counts once it is.",
    "sale_known": "The sale was recorded before.",
    "credential_missing": "The request has no API key.",
    "credential_malformed": "The header is not an API key.",
    "unauthorised": "The API key does not exist or is revoked.",
    "forbidden": "The API key lacks the scope.",
    "origin_unknown": "The publishable key may not be used from this origin.",
    "rate_limited": "The rate limit is exceeded.",
    "switched_off": "An operator has switched this off.",
    "overloaded": "Neither the stream nor the disk can take the event. Send it again later.",
    "failed": "The edge has a bug.",
}

_CODES: Final[tuple[RefusalCode, ...]] = get_args(RefusalCode)

#: Of every route: the edge reads any body before it looks at the request.
_OF_ALL: Final[frozenset[RefusalCode]] = frozenset(
    {
        "method_not_allowed",
        "body_too_large",
        "encoding_unsupported",
        "body_malformed",
        "switched_off",
        "overloaded",
        "failed",
        "rate_limited",
    }
)

#: Of every route with a key.
_OF_KEYS: Final[frozenset[RefusalCode]] = frozenset(
    {
        "credential_missing",
        "credential_malformed",
        "unauthorised",
        "forbidden",
    }
)

_RETRY_AFTER: Final = 5  # seconds


class RefusalExample(NamedTuple):
    """A refusal, and the dialect's answer."""

    code: RefusalCode
    field: str
    reply: Reply


def refusals(
    dialect: Dialect, route: Endpoint | Query, sample: Example
) -> Iterator[RefusalExample]:
    """Every refusal that a request to the route may meet, in the order of their codes.

    A missing field is shown for each that is required, any other once.
    """
    found = {*_OF_ALL, *route.refusals}
    if "{" in route.path:
        found.add("not_found")
    if route.credential:
        found |= _OF_KEYS
    if route.credential and route.credential.publishable:
        found.add("origin_unknown")
    if route.credential and route.credential.is_optional:
        found.remove("credential_missing")
    tried = [*_of_fields(route, sample.body)]
    for code in _CODES:
        for refusal in [item for item in tried if item.code == code] or (
            [_refusal(code, route)] if code in found else []
        ):
            refusal.target = sample.drafts[-1].target if sample.drafts else None
            yield RefusalExample(code, refusal.field, dialect.refuse(refusal))


def _refusal(code: RefusalCode, route: Endpoint | Query) -> Refusal:
    scope = route.credential.scope if route.credential else ""
    told: Mapping[str, dict[str, Any]] = {
        "forbidden": {"field": scope},
        "origin_unknown": {"problem": "https://elsewhere.example"},
        "customer_advanced": {"problem": "customer"},
        "failed": {"field": route.path},
        "rate_limited": {"retry_after": _RETRY_AFTER},
    }
    return Refusal(code, **told.get(code, {}))


def _of_fields(route: Endpoint | Query, body: Mapping[str, Json]) -> Iterator[Refusal]:
    """The refusals of invalid bodies, found by trying."""
    if isinstance(route, Query) or route.body is None:
        return
    without = [{key: body[key] for key in body if key != name} for name in body]
    names = [item.alias or name for name, item in route.body.model_fields.items()]
    odd: tuple[Json, ...] = ([], "")
    wrong = [{**body, name: value} for value in odd for name in names]
    seen: set[str] = set()
    for attempt in [{}, *without, *wrong]:
        refusal = _refused(route, attempt)
        if refusal is None or refusal.code not in {"field_missing", "field_invalid"}:
            continue
        what = refusal.field if refusal.code == "field_missing" else refusal.code
        if what not in seen:
            seen.add(what)
            yield refusal


def _refused(route: Endpoint, body: Mapping[str, Json]) -> Refusal | None:
    try:
        parse(route, body)
    except Refusal as refusal:
        return refusal
    return None
