"""What Dub's samples cannot show: which drafts are kept, which reply of several is told."""

from dataclasses import replace
from uuid import UUID

import orjson
import pytest

from ingest.contracts.directory import CustomerRecord
from ingest.contracts.envelope import Kind
from ingest.dialects.dub import DUB
from ingest.dialects.spec.events import Draft, Outcome
from ingest.dialects.spec.requests import RawRequest, Reply, Usage
from ingest.dialects.spec.routes import Endpoint

SALE = next(item for item in DUB.endpoints if item.path == "/track/sale")
assert isinstance(SALE, Endpoint)
CLICKED = CustomerRecord(
    click_uuid=UUID(int=1), is_bound_by_key=True, by_event="Sign up"
)


def of_a_direct_sale() -> Draft:
    """The lead that comes with it."""
    body = {"customerExternalId": "u", "amount": 1, "clickId": "c"}
    assert isinstance(SALE, Endpoint)
    lead, sale = SALE.parse(RawRequest(body=orjson.dumps(body)))
    assert (Kind.LEAD, Kind.SALE) == (lead.kind, sale.kind)
    return lead


@pytest.mark.parametrize(
    ("customer", "is_kept"),
    [
        (None, True),
        (CLICKED, False),
        (replace(CLICKED, by_event=None), False),
        # The first attempt may have died between its mark and its append.
        (replace(CLICKED, by_event="Direct sale tracking lead event"), True),
        (replace(CLICKED, click_uuid=None, is_bound_by_key=False), True),
        # Only callers without a key said that the customer came by a click.
        (replace(CLICKED, is_bound_by_key=False), True),
    ],
)
def test_a_direct_sale_of_a_known_customer_brings_no_lead(
    customer: CustomerRecord | None, *, is_kept: bool
) -> None:
    assert isinstance(SALE, Endpoint)
    lead = of_a_direct_sale()

    judged = SALE.judge(
        Outcome(draft=lead, event_id=UUID(int=1), customer=customer, click_token="c")
    )

    assert (lead if is_kept else None) == judged


@pytest.mark.parametrize(
    ("of_lead", "of_sale", "told"),
    [
        (200, 200, 200),
        (404, 200, 200),
        (503, 200, 503),
        (200, 503, 503),
        (404, 404, 404),
    ],
)
def test_a_sale_is_told_unless_its_lead_found_no_place(
    of_lead: int, of_sale: int, told: int
) -> None:
    assert isinstance(SALE, Endpoint)
    lead, sale = Reply(of_lead, "lead"), Reply(of_sale, "sale")

    reply = SALE.collect([lead, sale])

    assert told == reply.status
    assert reply is (sale if of_lead < 500 else lead)


def test_limits_are_told_in_seconds() -> None:
    usage = Usage(
        limit=600, remaining=0, reset=1_795_241_499, is_admitted=False, retry_after=2
    )

    assert DUB.usage_headers is not None
    assert {
        "X-RateLimit-Limit": "600",
        "X-RateLimit-Remaining": "0",
        "X-RateLimit-Reset": "1795241499",
    } == DUB.usage_headers(usage)
