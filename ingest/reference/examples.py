"""An example request of a route, and its dialect's answer to it.

The request is the example of the body's model. The dialect itself gives the answer.
"""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple
from uuid import UUID

import orjson

from ingest.contracts.clickid import KeyRing
from ingest.contracts.directory import (
    CustomerRecord,
    LinkRecord,
    ProgramRecord,
    SaleRecord,
    StatsRecord,
)
from ingest.contracts.envelope import Kind
from ingest.contracts.ids import first_id_at
from ingest.contracts.storable import Json
from ingest.dialects.spec.events import (
    ByClick,
    ByPartner,
    Draft,
    Finding,
    FirstOf,
    Outcome,
    Target,
)
from ingest.dialects.spec.refusal import Refusal
from ingest.dialects.spec.requests import RawRequest, Reply
from ingest.dialects.spec.routes import Endpoint, Query

_AT: Final = 1_790_000_000_000  # Unix milliseconds
_TEXT: Final = "SARAH"
_URL: Final = "https://example.com/"
_EVENT: Final = first_id_at(_AT)
_PROGRAM: Final = UUID("0198c7a0-5f00-7000-8000-000000000001")
#: Signs the click ids of examples. No edge has this secret.
_KEYS: Final = KeyRing([b"the examples of the documentation"])


class Example(NamedTuple):
    """A valid request, its drafts, and the answer; None if the dialect refuses it."""

    body: dict[str, Json]
    drafts: tuple[Draft, ...]
    reply: Reply | None


def path_of(route: Endpoint | Query) -> Mapping[str, str]:
    """A value for every variable of a route's path."""
    parts = (part.strip("{}") for part in route.path.split("/") if part.startswith("{"))
    return {part.partition(":")[0]: _TEXT for part in parts}


def example_of(route: Endpoint | Query, schema: Mapping[str, Any]) -> Example:
    """An example request to a route whose body has this schema."""
    body = _body(schema)
    try:
        if isinstance(route, Query):
            reply = route.answer(_finding(route.ask(RawRequest(path=path_of(route)))))
            return Example(body, (), reply)
        drafts = tuple(parse(route, body))
        answers = [route.answer(_outcome(route, draft)) for draft in drafts]
        return Example(body, drafts, route.collect(answers))
    except Refusal:
        return Example(body, (), None)


def parse(route: Endpoint, body: Mapping[str, Json]) -> list[Draft]:
    return [*route.parse(RawRequest(path=path_of(route), body=orjson.dumps(body)))]


def _body(schema: Mapping[str, Any]) -> dict[str, Json]:
    [shown] = schema.get("examples", [{}])
    return {name: shown[name] for name in schema.get("properties", {}) if name in shown}


def _finding(target: Target) -> Finding:
    stats = StatsRecord(partner_code=_TEXT, conversions=8, pending=4, code=_TEXT)
    return Finding(link=_link(target), stats=stats)


def _outcome(route: Endpoint, draft: Draft) -> Outcome:
    link = _link(draft.target)
    customer = CustomerRecord(
        name=draft.customer_name,
        email=draft.customer_email,
        click_uuid=_EVENT,
        link_uuid=link.link_uuid,
    )
    return Outcome(
        draft=draft,
        event_id=_EVENT,
        at=_AT,
        click_token=_token(route, draft),
        link=link,
        program=_program(draft.target),
        customer=customer if route.asks_customer else None,
        sale=SaleRecord(amount=9900, is_earned=True),
        has_key=route.credential is not None and not route.credential.is_optional,
    )


def _token(route: Endpoint, draft: Draft) -> str | None:
    if draft.kind is Kind.LINK:
        return None
    targets = (
        draft.target.targets if isinstance(draft.target, FirstOf) else (draft.target,)
    )
    named = [target.token for target in targets if isinstance(target, ByClick)]
    if named and draft.kind is not Kind.CLICK:
        return named[0]
    if route.has_short_clicks:
        return _KEYS.short(_EVENT)
    return _KEYS.issue(_EVENT, _link(draft.target).link_uuid)


def _link(target: Target) -> LinkRecord:
    code = getattr(target, "code", _TEXT)
    return LinkRecord(
        link_uuid=UUID(int=_PROGRAM.int + 1),
        workspace_uuid=UUID(int=_PROGRAM.int + 2),
        public_id="link_8ZQ4T1",
        namespace="-",
        code=code,
        domain="example.com",
        url=_URL,
        is_active=True,
        program_uuid=_program(target).program_uuid,
        program_number=_program(target).number,
        partner_uuid=UUID(int=_PROGRAM.int + 3),
        partner_code=getattr(target, "partner_code", code),
        partner_public_id="pn_2M7K9C",
        partner_name="Sarah",
        created_at=_AT,
    )


def _program(target: Target) -> ProgramRecord:
    return ProgramRecord(
        program_uuid=target.program_id if isinstance(target, ByPartner) else _PROGRAM,
        workspace_uuid=UUID(int=_PROGRAM.int + 2),
        number=getattr(target, "number", 7),
        url=_URL,
    )
