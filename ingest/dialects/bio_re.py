"""bio.re: clicks that landing pages report, `POST /api/v1/referral/click/{code}`.

The vendor promises that the request never fails. So a code that is unknown or off is
answered like any other, and so is a click that cannot be stored. A click on an unknown code is
appended under that code: it is recorded once a link has it. Only the rate limit, the
kill switch and malformed requests are refused. The vendor does not show the body of an
error; ours has the envelope of its successes and the `code / i18nKey` that it lists.
"""

from collections.abc import Sequence
from typing import Final

from pydantic import BaseModel

from ingest.contracts.envelope import Kind
from ingest.contracts.storable import Json
from ingest.dialects.body import doc
from ingest.dialects.refusals import answers, retry_headers
from ingest.dialects.spec.events import ByCode, Draft, Outcome
from ingest.dialects.spec.refusal import Refusal, RefusalCode
from ingest.dialects.spec.requests import RawRequest, Reply
from ingest.dialects.spec.routes import Dialect, Endpoint, Limit

_TRACKED: Final[Json] = {"success": True, "data": {"tracked": True}}

#: What the caller is not told; `resolve` and `accept` log it.
_SILENT: Final[frozenset[RefusalCode]] = frozenset(
    {
        "link_unparsable",
        "link_code_missing",
        "link_unknown",
        "link_incomplete",
        "link_inactive",
        "overloaded",
    }
)


_REFUSALS: Final = answers(
    {
        "not_found": (404, "not_found", "Not found"),
        "method_not_allowed": (405, "method_not_allowed", "Method not allowed"),
        "body_too_large": (413, "payload_too_large", "The request body is too large"),
        "encoding_unsupported": (415, "unsupported_encoding", "Unsupported encoding"),
        "body_malformed": (400, "validation_failed", "The request is not valid"),
        "unauthorised": (401, "unauthorized", "Invalid or missing credentials"),
        "forbidden": (403, "forbidden", "Not allowed"),
        "rate_limited": (429, "throttle", "Too many requests"),
        "switched_off": (
            503,
            "features.referral_disabled",
            "Referrals are switched off",
        ),
        "failed": (500, "internal_error", "Internal server error"),
    }
)


class _Data(BaseModel):
    tracked: bool = doc(
        "Always true, also for a code that is unknown or off.", example=True
    )


class _Tracked(BaseModel):
    success: bool = doc("Always true.", example=True)
    data: _Data = doc("What became of the click.")


class _Error(BaseModel):
    code: str = doc("A code for what is wrong.", "throttle")
    i18n_key: str = doc(
        "The key of its translation; the same as `code`.", "throttle", alias="i18nKey"
    )
    message: str = doc("What is wrong, in English.", "Too many requests")


class _Problem(BaseModel):
    success: bool = doc("Always false.", example=False)
    error: _Error = doc("Why the request is refused.")


def _parse(request: RawRequest) -> Sequence[Draft]:
    # No dedupe key: the vendor counts every click, and says so.
    return [
        Draft(
            kind=Kind.CLICK,
            target=ByCode(request.path["code"]),
            page_url=request.headers.get("referer"),
        )
    ]


def _answer(_: Outcome) -> Reply:
    return Reply(200, _TRACKED)


def _refuse(refusal: Refusal) -> Reply:
    if refusal.code in _SILENT:
        return Reply(200, _TRACKED)
    status, code, message = _REFUSALS[refusal.code]
    error: Json = {"code": code, "i18nKey": code, "message": message}
    return Reply(
        status, {"success": False, "error": error}, retry_headers(refusal, status)
    )


BIO_RE: Final = Dialect(
    name="bio_re",
    prefix="/api/v1/referral",
    endpoints=(
        Endpoint(
            path="/api/v1/referral/click/{code}",
            summary="Count a click on a referral link, whether its code is known or not",
            variables={"code": "The link's code."},
            limits=(Limit(name="bio_re.address", by="address", per_minute=60),),
            reply=_Tracked,
            refusals=("link_unknown", "link_inactive"),
            parse=_parse,
            answer=_answer,
            from_browsers=True,
            keeps_unknown=True,
        ),
    ),
    refuse=_refuse,
    problem=_Problem,
    about=__doc__,
)
