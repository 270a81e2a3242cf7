"""Affitor: clicks of its browser tracker, leads of the tracker or of servers, and sales.

A click needs no key, only a valid link. A lead needs a click id or an API key. The answers
follow the vendor's pages on Track Click, on Track Lead and on errors. Those do not cover
malformed bodies, unknown routes, overload, and test events without a program; such refusals
have the vendor's flat error body. For leads:

- A customer is its `customer_key`, else its click id. It has one lead in a workspace, for
  good. A `customer_key` that begins like a click id of ours is one.
- A provisional lead makes its customer known and counts nothing, however often it comes.
- No answer returns an e-mail address.
- An optional text or object of another type is ignored.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from ingest.contracts.envelope import CLICK, Dedupe, Kind
from ingest.contracts.storable import Json
from ingest.dialects import weburl
from ingest.dialects.affitor import sales, wire
from ingest.dialects.body import lenient_integer, read
from ingest.dialects.spec.events import (
    ByClick,
    ByCode,
    ByCustomer,
    ByProgram,
    Draft,
    FirstOf,
    Outcome,
    PlainClick,
)
from ingest.dialects.spec.refusal import Refusal
from ingest.dialects.spec.requests import RawRequest, Reply
from ingest.dialects.spec.routes import Credential, Dialect, Endpoint

_COOKIE_WINDOW: Final = 60  # days, where the program cannot be asked


#: How the vendor calls our customers' statuses.
_STATUSES: Final = {"lead": "lead", "customer": "conversion"}

_KEPT: Final = "Lead recorded provisionally until a server confirms it"


def _parse_click(request: RawRequest) -> Sequence[Draft]:
    click = read(wire.ClickBody, request.body)
    is_test = click.is_test
    return [
        Draft(
            kind=CLICK,
            target=_program(click.extra) if is_test else _link(click.affiliate_url),
            # A test event has no visitor.
            existing_click=None if is_test else click.existing,
            session=click.session_id,
            user_agent=click.user_agent,
            referrer=click.referrer_url,
            page_url=click.page_url,
            is_test=is_test,
            properties=_properties(click),
        )
    ]


def _plain_click(body: bytes) -> tuple[ByCode, PlainClick] | None:
    click = wire.read_plain_click(body)
    if click is None or click.affiliate_url is None:
        return None
    try:
        url = weburl.parse(click.affiliate_url)
    except ValueError:
        return None
    code = url.parameter("aff")
    return (ByCode(code, url.host), click) if code else None


def _link(given: object) -> ByCode:
    if given is None or (isinstance(given, str) and not given.strip()):
        raise Refusal("field_missing", field="affiliate_url")
    if not isinstance(given, str):
        raise Refusal("field_invalid", field="affiliate_url")
    try:
        url = weburl.parse(given)
    except ValueError as error:
        raise Refusal("link_unparsable", field="affiliate_url") from error
    code = url.parameter("aff")
    if not code:
        raise Refusal("link_code_missing", field="affiliate_url")
    return ByCode(code, url.host)


def _program(given: Mapping[str, Json]) -> ByProgram:
    number = lenient_integer(given, "program_id")
    if number is None:
        raise Refusal("field_missing", field="program_id", problem="in test mode")
    return ByProgram(number)


def _properties(click: wire.ClickBody) -> Mapping[str, Json]:
    kept = click.about
    return {**kept, "additional_data": dict(click.extra)} if click.extra else kept


def _answer_click(outcome: Outcome) -> Reply:
    target, link = outcome.draft.target, outcome.link
    if isinstance(target, ByProgram):
        return sales.tested(outcome, "click")
    code = target.code if isinstance(target, ByCode) else None
    return Reply.ok(
        success=True,
        click_id=outcome.click_token,
        partner_code=link.partner_code if link else code,
        cookie_window_days=link.cookie_window_days if link else _COOKIE_WINDOW,
    )


def _parse_lead(request: RawRequest) -> Sequence[Draft]:
    lead = read(wire.LeadBody, request.body)
    name = lead.asked.get("event_name")
    facts: dict[str, Any] = {
        "kind": Kind.LEAD,
        "name": name if isinstance(name, str) else None,
        "session": lead.session_id,
        "unreturned_email": (lead.email or "").strip() or None,
        "page_url": lead.page_url,
        "properties": _told(lead, lenient_integer(lead.asked, "program_id")),
    }
    if lead.is_test:
        return [Draft(target=_program(lead.asked), is_test=True, **facts)]
    if not lead.identity:
        raise Refusal("field_missing", field="click_id or customer_key")
    return [
        Draft(
            target=FirstOf(_people(lead)),
            dedupe=Dedupe.of("lead", "affitor", *lead.identity),
            external_id=lead.customer,
            **facts,
        )
    ]


def _people(lead: wire.LeadBody) -> tuple[ByClick | ByCustomer, ...]:
    """Whom the lead may belong to, best first."""
    clicks = dict.fromkeys((*((lead.click,) if lead.click else ()), *lead.candidates))
    by_click = tuple(map(ByClick, clicks))
    return (*by_click, ByCustomer(lead.customer)) if lead.customer else by_click


def _told(lead: wire.LeadBody, program: int | None) -> Mapping[str, Json]:
    kept: dict[str, Json] = {}
    if program is not None:
        kept["program_id"] = program
    if lead.extra:
        kept["additional_data"] = dict(lead.extra)
    return kept


def _judge_lead(outcome: Outcome) -> Draft:
    draft, link, customer = outcome.draft, outcome.link, outcome.customer
    if draft.is_test:
        return draft
    if outcome.is_certain and not (link or customer or outcome.click_token):
        raise Refusal("customer_unknown")
    asked = draft.properties.get("program_id")
    if outcome.has_key and link and asked not in {None, link.program_number}:
        raise Refusal("customer_elsewhere")
    # Whom edges only remember may have been marked by this very lead, and never recorded.
    if customer and customer.is_recorded:
        # What came without a key does not stand in the way of a key.
        status = customer.keyed_status if outcome.has_key else customer.status
        if status in _STATUSES:
            raise Refusal("customer_advanced", problem=_STATUSES[status])
    return draft


def _answer_lead(outcome: Outcome) -> Reply:
    draft = outcome.draft
    if isinstance(draft.target, ByProgram):
        return sales.tested(outcome, "lead")
    if draft.kind is Kind.DEFERRED:
        return Reply.ok(success=True, provisional=True, message=_KEPT)
    return Reply.ok(success=True, message="Lead tracked successfully")


def _repeat_lead(outcome: Outcome, first: Reply) -> Reply:
    if outcome.draft.is_test or outcome.draft.kind is Kind.DEFERRED:
        return first
    return wire.refuse(Refusal("customer_advanced", problem=_STATUSES["lead"]))


AFFITOR: Final = Dialect(
    name="affitor",
    prefix="/api/v1/track",
    endpoints=(
        Endpoint(
            path="/api/v1/track/click",
            summary="Record that a visitor followed a referral link",
            body=wire.ClickBody,
            reply=wire.Clicked,
            refusals=(
                "link_unparsable",
                "link_code_missing",
                "link_unknown",
                "link_inactive",
                "link_incomplete",
                "program_unknown",
            ),
            parse=_parse_click,
            answer=_answer_click,
            from_browsers=True,
            needs_partner=True,
            plain_click=_plain_click,
        ),
        Endpoint(
            path="/api/v1/track/lead",
            summary="Record that a visitor or customer who is known signed up",
            credential=Credential(scope="track", is_optional=True),
            body=wire.LeadBody,
            reply=wire.Led,
            refusals=(
                "customer_unknown",
                "customer_elsewhere",
                "customer_advanced",
                "program_unknown",
            ),
            parse=_parse_lead,
            judge=_judge_lead,
            answer=_answer_lead,
            repeat=_repeat_lead,
            from_browsers=True,
            asks_customer=True,
        ),
        sales.SALE,
        sales.REFUND,
    ),
    refuse=wire.refuse,
    problem=wire.Problem,
    about=__doc__,
)
