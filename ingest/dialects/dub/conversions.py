"""Dub's leads and sales, of servers and of web pages with a publishable key."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final
from uuid import UUID, uuid5

from ingest.contracts.apikey import PUBLISHABLE_PREFIXES
from ingest.contracts.directory import CustomerRecord, LinkRecord
from ingest.contracts.envelope import Dedupe, Kind
from ingest.dialects.body import read
from ingest.dialects.dub import answers, wire
from ingest.dialects.spec.events import (
    ByClick,
    ByCustomer,
    Draft,
    FirstOf,
    Outcome,
)
from ingest.dialects.spec.refusal import Refusal
from ingest.dialects.spec.requests import RawRequest, Reply
from ingest.dialects.spec.routes import Credential, Endpoint, Limit

_FAILED: Final = 500  # and above: whether the event is recorded is unknown
_DIRECT: Final = "Direct sale tracking lead event"
#: The namespace of what is derived from external ids (RFC 9562, version 5).
_CUSTOMERS: Final = UUID("6d3c2fb5-0c1b-4a55-9a3e-8b5f6f1d7a21")


def _draft(event: wire.EventBody, **facts: Any) -> Draft:
    return Draft(
        external_id=event.customer_external_id,
        customer_name=event.customer_name or None,
        customer_email=event.customer_email,
        customer_avatar=event.customer_avatar or None,
        **facts,
    )


def _lead_key(external_id: str, name: str) -> Dedupe:
    return Dedupe.of("lead", "dub", external_id, "-".join(name.lower().split()))


def _parse_lead(request: RawRequest) -> Sequence[Draft]:
    lead = read(wire.LeadBody, request.body)
    name, token, external_id = lead.event_name, lead.token, lead.customer_external_id
    is_deferred = lead.mode == "deferred"
    # A deferred lead's key is its own: the lead itself is still to come.
    key = Dedupe.of("deferred", external_id, name, token)
    return [
        _draft(
            lead,
            kind=Kind.DEFERRED if is_deferred else Kind.LEAD,
            target=ByClick(token) if token else ByCustomer(external_id),
            dedupe=key if is_deferred else _lead_key(external_id, name),
            name=name,
            quantity=lead.event_quantity or 1,
            properties=lead.metadata or {},
        )
    ]


def _judge_lead(outcome: Outcome) -> Draft:
    draft, link = outcome.draft, outcome.link
    if link and not link.is_active:
        raise Refusal("link_inactive")
    names_click = isinstance(draft.target, ByClick)
    if outcome.is_certain and not names_click and not _came_by_click(outcome):
        raise Refusal("customer_unknown")
    return draft


def _answer_lead(outcome: Outcome) -> Reply:
    return _led(outcome, outcome.link)


def _repeat_lead(outcome: Outcome, _: Reply) -> Reply:
    is_deferred = outcome.draft.kind is Kind.DEFERRED
    return _led(outcome, outcome.link if is_deferred else None)


def _led(outcome: Outcome, link: LinkRecord | None) -> Reply:
    target = outcome.draft.target
    token = target.token if isinstance(target, ByClick) else outcome.click_token
    said = answers.Led(
        click=answers.ClickId(id=token or ""),
        link=_link(link) if link else None,
        customer=answers.Customer(**_customer(outcome)),
    )
    return Reply(200, said.model_dump(by_alias=True))


def _link(link: LinkRecord) -> answers.Link:
    number, domain, code = link.program_number, link.domain, link.code
    return answers.Link(
        id=link.public_id,
        domain=domain,
        key=code,
        short_link=f"https://{domain}/{code}" if domain else link.url,
        url=link.url,
        partner_id=link.partner_public_id,
        program_id=None if number is None else f"prog_{number:03d}",
    )


def _came_by_click(outcome: Outcome) -> bool:
    return outcome.customer is not None and outcome.customer.click_uuid is not None


def _customer(outcome: Outcome) -> dict[str, Any]:
    """What the request says of the customer, else what is known."""
    draft, external_id = outcome.draft, outcome.draft.external_id or ""
    # A web page is not told who somebody else's customer is.
    known = (outcome.customer if outcome.has_key else None) or CustomerRecord()
    email = draft.customer_email or known.email
    nameless = f"Customer {_derived(external_id)[:6].upper()}"
    return {
        "name": draft.customer_name or known.name or email or nameless,
        "email": email,
        "avatar": draft.customer_avatar or known.avatar,
        "external_id": external_id,
    }


def _derived(external_id: str) -> str:
    return uuid5(_CUSTOMERS, external_id).hex


def _parse_sale(request: RawRequest) -> Sequence[Draft]:
    sale = read(wire.SaleBody, request.body)
    by_click, by_customer = ByClick(sale.token), ByCustomer(sale.customer_external_id)
    invoice = sale.invoice_id
    sold = _draft(
        sale,
        kind=Kind.SALE,
        target=FirstOf((by_click, by_customer) if sale.token else (by_customer,)),
        dedupe=Dedupe.of("sale", invoice) if invoice else None,
        name=sale.event_name or "Purchase",
        quantity=1 if sale.amount else 0,
        amount=sale.amount,
        currency=(sale.currency or "usd").upper(),
        properties={
            "paymentProcessor": sale.payment_processor or "custom",
            **({"invoiceId": invoice} if invoice else {}),
            **({"metadata": sale.metadata} if sale.metadata is not None else {}),
        },
    )
    if not sale.token or not sale.amount:
        return [sold]
    # A direct sale. The lead is first: after the sale, the customer would be known.
    name = sale.lead_event_name or _DIRECT
    key = _lead_key(sale.customer_external_id, name)
    return [_draft(sale, kind=Kind.LEAD, target=by_click, dedupe=key, name=name), sold]


def _judge_sale(outcome: Outcome) -> Draft | None:
    draft, customer = outcome.draft, outcome.customer
    if draft.kind is Kind.LEAD:
        # What made the customer known may be this very lead, marked but never recorded.
        is_own = customer is not None and customer.by_event == draft.name
        is_led = customer is not None and customer.is_bound_by_key
        return draft if is_own or not is_led else None
    names_click = isinstance(draft.target, FirstOf) and len(draft.target.targets) > 1
    if names_click and outcome.is_certain and not outcome.click_token:
        raise Refusal("click_unknown")
    return draft


def _answer_sale(outcome: Outcome) -> Reply:
    draft, told = outcome.draft, outcome.draft.properties
    said = answers.Sold(event_name=draft.name or "")
    if draft.amount and (outcome.click_token or _came_by_click(outcome)):
        customer = _customer(outcome)
        derived = f"cus_{_derived(customer['external_id'])}"
        said.customer = answers.Buyer(id=derived, **customer)
        said.sale = answers.Sum.model_validate(
            {
                "amount": draft.amount,
                "currency": (draft.currency or "").lower(),
                "invoiceId": None,
                "metadata": None,
                **told,
            }
        )
    return Reply(200, said.model_dump(by_alias=True))


def _collect_sale(replies: Sequence[Reply]) -> Reply:
    """The sale's, which is last, unless something found no durable place."""
    return next((reply for reply in replies if reply.status >= _FAILED), replies[-1])


_CREDENTIAL: Final = Credential(scope="track")
_LIMITS: Final = (Limit(name="dub.key", by="key", per_minute=600),)


def _of_a_page(
    parse: Callable[[RawRequest], Sequence[Draft]],
) -> Callable[[RawRequest], Sequence[Draft]]:
    """The same for pages, which are to hold no secret key."""

    def checked(request: RawRequest) -> Sequence[Draft]:
        sent = request.headers.get("authorization", "").removeprefix("Bearer ").strip()
        if sent and not sent.startswith(PUBLISHABLE_PREFIXES):
            raise Refusal("credential_malformed", field="publishable")
        return parse(request)

    return checked


LEAD: Final = Endpoint(
    path="/track/lead",
    summary="Record that a visitor whose click is known signed up",
    credential=_CREDENTIAL,
    limits=_LIMITS,
    body=wire.LeadBody,
    reply=answers.Led,
    refusals=("click_unknown", "link_inactive", "customer_unknown"),
    parse=_parse_lead,
    judge=_judge_lead,
    answer=_answer_lead,
    repeat=_repeat_lead,
    asks_customer=True,
    has_short_clicks=True,
)
SALE: Final = Endpoint(
    path="/track/sale",
    summary="Record that a customer paid",
    credential=_CREDENTIAL,
    limits=_LIMITS,
    body=wire.SaleBody,
    reply=answers.Sold,
    refusals=("click_unknown",),
    parse=_parse_sale,
    judge=_judge_sale,
    answer=_answer_sale,
    collect=_collect_sale,
    asks_customer=True,
    has_short_clicks=True,
)
LEAD_OF_A_PAGE: Final = replace(
    LEAD,
    path="/track/lead/client",
    summary="Record a sign-up from a web page, with a publishable key",
    credential=Credential(publishable="publish"),
    limits=(),
    parse=_of_a_page(_parse_lead),
    from_browsers=True,
)
SALE_OF_A_PAGE: Final = replace(
    SALE,
    path="/track/sale/client",
    summary="Record a sale from a web page; it counts once a server reports it",
    credential=Credential(publishable="publish_sale"),
    limits=(),
    refusals=("click_unknown", "customer_unknown"),
    parse=_of_a_page(_parse_sale),
    from_browsers=True,
)
