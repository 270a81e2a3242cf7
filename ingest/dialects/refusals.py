"""How a dialect answers refusals: tables of differences, and when to come back."""

from collections.abc import Mapping
from typing import Final, TypeVar, get_args

from ingest.dialects.spec.refusal import Refusal, RefusalCode
from ingest.dialects.spec.requests import NOTHING, Usage

_Answer = TypeVar("_Answer")

_RETRY_AFTER: Final = 5  # seconds, if the refusal does not say

#: A code that a dialect has no answer for is answered like the more general one.
_MORE_GENERAL: Final[Mapping[RefusalCode, RefusalCode]] = {
    "field_missing": "body_malformed",
    "field_invalid": "body_malformed",
    "link_unparsable": "link_unknown",
    "link_code_missing": "link_unknown",
    "link_incomplete": "link_unknown",
    "link_inactive": "link_unknown",
    "link_unknown": "field_invalid",
    "program_unknown": "link_unknown",
    "partner_unknown": "program_unknown",
    "click_unknown": "program_unknown",
    "click_expired": "click_unknown",
    "customer_unknown": "click_unknown",
    "customer_elsewhere": "customer_unknown",
    "customer_advanced": "customer_elsewhere",
    "sale_unknown": "customer_unknown",
    "sale_known": "customer_advanced",
    "credential_missing": "unauthorised",
    "credential_malformed": "unauthorised",
    "forbidden": "unauthorised",
    "origin_unknown": "forbidden",
    "overloaded": "switched_off",
}


def answers(known: Mapping[RefusalCode, _Answer]) -> Mapping[RefusalCode, _Answer]:
    """An answer for every code. Raises KeyError if a general one is missing."""
    return {code: _answer(known, code) for code in get_args(RefusalCode)}


def _answer(known: Mapping[RefusalCode, _Answer], code: RefusalCode) -> _Answer:
    while code not in known:
        code = _MORE_GENERAL[code]
    return known[code]


def usage_headers(usage: Usage) -> Mapping[str, str]:
    """The headers in which several vendors tell how far a limit is used up."""
    return {
        "X-RateLimit-Limit": str(usage.limit),
        "X-RateLimit-Remaining": str(usage.remaining),
        "X-RateLimit-Reset": str(usage.reset),
    }


def retry_headers(refusal: Refusal, status: int) -> Mapping[str, str]:
    """`Retry-After` in whole seconds, if the same request may succeed later."""
    if status not in {429, 503}:
        return NOTHING
    wait = _RETRY_AFTER if refusal.retry_after is None else refusal.retry_after
    return {"Retry-After": str(max(1, wait))}
