"""How clicks of redirects and of the pixel are recorded: under these names, as of a dialect.

Nobody reads their words: whatever happens to the click, the visitor is led on.
"""

from collections.abc import Sequence
from typing import Final

from pydantic import BaseModel

from ingest.contracts.envelope import CLICK
from ingest.dialects.spec.events import ByCode, Draft, Outcome
from ingest.dialects.spec.refusal import Refusal
from ingest.dialects.spec.requests import RawRequest, Reply
from ingest.dialects.spec.routes import Dialect, Endpoint


class _Nothing(BaseModel):
    """No body."""


def _parse(request: RawRequest) -> Sequence[Draft]:
    path = request.path
    return [
        Draft(
            kind=CLICK,
            target=ByCode(path["code"], path.get("domain")),
            referrer=request.headers.get("referer"),
            purpose="crawler" if "bot" in request.query else None,
        )
    ]


def _answer(outcome: Outcome) -> Reply:
    """The click id, unless the browser asks not to be recognised."""
    return Reply(200, None if outcome.draft.is_anonymous else outcome.click_token)


def _refuse(refusal: Refusal) -> Reply:
    return Reply(503, refusal.code)


def _dialect(name: str, path: str, summary: str) -> Dialect:
    endpoint = Endpoint(
        method="GET",
        path=path,
        summary=summary,
        reply=_Nothing,
        parse=_parse,
        answer=_answer,
    )
    return Dialect(
        name=name, prefix=path, endpoints=(endpoint,), refuse=_refuse, problem=_Nothing
    )


REDIRECT: Final = _dialect("redirect", "/r/{code}", "Lead a visitor to a link's URL")
PIXEL: Final = _dialect("pixel", "/p/{code}.gif", "Record a click by an image")
REDIRECTS: Final = (REDIRECT, PIXEL)


def endpoint_of(dialect: Dialect) -> Endpoint:
    """The only one."""
    [endpoint] = (each for each in dialect.endpoints if isinstance(each, Endpoint))
    return endpoint
