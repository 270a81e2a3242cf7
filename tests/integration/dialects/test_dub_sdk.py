"""The vendor's own Python client, unmodified, at two edges and a worker."""

from collections.abc import AsyncIterator
from typing import Any, get_args
from uuid import UUID

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from dub import Dub
from dub.models import errors

from ingest.contracts.apikey import hashes
from ingest.contracts.directory import KeyRecord, api_key_key
from ingest.dialects.dub import DUB
from ingest.dialects.spec.refusal import Refusal, RefusalCode
from ingest.http.handlers import respond
from tests.support.servers.cli import SECRET
from tests.support.servers.installation import Installation, elsewhere

KEY = "YOUR_API_KEY"
CUSTOMER = "user_1"
CODES: tuple[RefusalCode, ...] = get_args(RefusalCode)
CLASSES: dict[int, type[errors.DubError]] = {
    400: errors.BadRequest,
    401: errors.Unauthorized,
    403: errors.Forbidden,
    404: errors.NotFound,
    422: errors.UnprocessableEntity,
    429: errors.RateLimitExceeded,
    500: errors.InternalServerError,
}


def client_of(site: Installation, edge: int = 0, key: str = KEY) -> Dub:
    return Dub(token=key, server_url=str(site.edges[edge].make_url("")))


async def click(site: Installation) -> str:
    """The id of a new visitor's click, as the vendor's browser script gets it."""
    answer = await site.edges[0].post(
        "/track/click",
        json={"domain": "go.yoursite.com", "key": "alice"},
        headers=elsewhere(),
    )
    assert 200 == answer.status
    return str((await answer.json())["clickId"])


def a_lead(click_id: str, **changes: Any) -> Any:
    return {
        "click_id": click_id,
        "event_name": "Sign up",
        "customer_external_id": CUSTOMER,
        "customer_email": "john@example.com",
        **changes,
    }


@pytest.mark.parametrize("mode", ["async", "wait"])
async def test_a_lead_is_answered_with_its_link_and_recorded(
    site: Installation, mode: str
) -> None:
    click_id = await click(site)
    async with client_of(site, edge=1) as dub:
        lead = await dub.track.lead_async(request=a_lead(click_id, mode=mode))

    assert lead is not None
    assert lead.link is not None
    assert (click_id, "alice") == (lead.click.id, lead.link.key)
    assert "https://go.yoursite.com/alice" == lead.link.short_link
    assert ("john@example.com", CUSTOMER) == (
        lead.customer.name,
        lead.customer.external_id,
    )
    site.start_worker()
    await site.rests()
    assert [("alice", "Sign up", CUSTOMER)] == await site.rows(
        "select links.code, event.name, customer.external_id from events event"
        " join links on links.id = event.link_id"
        " join customers customer on customer.id = event.customer_id"
        " where event.kind = 'lead'"
    )


async def test_a_deferred_lead_counts_with_its_second_call(site: Installation) -> None:
    async with client_of(site) as dub:
        first = await dub.track.lead_async(
            request=a_lead(await click(site), mode="deferred")
        )
        second = await dub.track.lead_async(request=a_lead("", event_quantity=3))

    assert first is not None
    assert second is not None
    assert first == second
    assert first.link is not None
    site.start_worker()
    await site.rests()
    counted = "select leads from links where code = 'alice'"
    assert [(3,)] == await site.rows(counted)


async def test_a_repeated_lead_is_told_so_and_counts_once(site: Installation) -> None:
    click_id = await click(site)
    async with client_of(site) as dub:
        first = await dub.track.lead_async(request=a_lead(click_id))
        again = await dub.track.lead_async(
            request=a_lead(click_id, event_name="SIGN UP")
        )

    assert first is not None
    assert again is not None
    assert again.link is None
    assert first.customer == again.customer
    site.start_worker()
    await site.rests()
    counted = "select leads from links where code = 'alice'"
    assert [(1,)] == await site.rows(counted)


async def test_a_sale_after_its_lead_is_known_at_once_and_once(
    site: Installation,
) -> None:
    sale: Any = {
        "customer_external_id": CUSTOMER,
        "amount": 4999,
        "currency": "eur",
        "payment_processor": "stripe",
        "invoice_id": "INV_1",
        "metadata": {"plan": "pro"},
    }
    async with client_of(site, edge=0) as one, client_of(site, edge=1) as other:
        await one.track.lead_async(request=a_lead(await click(site), mode="wait"))
        first = await other.track.sale_async(request=sale)
        again = await one.track.sale_async(request={**sale, "amount": 1})

    assert first is not None
    assert first == again
    assert first.sale is not None
    assert first.customer is not None
    assert (4999, "eur", "INV_1") == (
        first.sale.amount,
        first.sale.currency,
        first.sale.invoice_id,
    )
    assert (CUSTOMER, "john@example.com") == (
        first.customer.external_id,
        first.customer.email,
    )
    site.start_worker()
    await site.rests()
    assert [("EUR", 4999)] == await site.rows(
        "select currency, link_amounts.amount from link_amounts"
        " join links on links.id = link_id where code = 'alice'"
    )


async def test_a_direct_sale_brings_its_lead_once(site: Installation) -> None:
    click_id = await click(site)
    sale: Any = {
        "customer_external_id": CUSTOMER,
        "amount": 700,
        "click_id": click_id,
        "customer_name": "John",
        "lead_event_name": "Checkout",
    }
    async with client_of(site) as dub:
        for invoice in ("INV_1", "INV_1", "INV_2"):
            sold = await dub.track.sale_async(request={**sale, "invoice_id": invoice})
            assert sold is not None
            assert sold.customer is not None
            assert "John" == sold.customer.name
    site.start_worker()
    await site.rests()
    counted = "select leads, sales from links where code = 'alice'"
    assert [(1, 2)] == await site.rows(counted)


async def test_a_sale_of_nobody_is_answered_with_nulls_and_kept(
    site: Installation,
) -> None:
    async with client_of(site) as dub:
        for _ in range(2):
            sold = await dub.track.sale_async(
                request={"customer_external_id": "stranger", "amount": 700}
            )
            assert sold is not None
            assert (None, None) == (sold.customer, sold.sale)
    site.start_worker()
    await site.rests()
    assert [(2,)] == await site.rows("select count(*) from events where kind = 'sale'")


@pytest.mark.parametrize(
    ("changes", "key", "expected", "words"),
    [
        ({"click_id": "nope"}, KEY, errors.NotFound, "clickId: nope"),
        ({"click_id": ""}, KEY, errors.BadRequest, "No clickId"),
        ({"event_name": "x" * 256}, KEY, errors.UnprocessableEntity, "too_big: "),
        ({}, "dub_wrong", errors.Unauthorized, "Invalid API key"),
        ({}, "dub_reader", errors.Forbidden, "may not track"),
    ],
)
async def test_a_refusal_is_typed_as_the_client_types_it(
    site: Installation, changes: Any, key: str, expected: Any, words: str
) -> None:
    reader = KeyRecord(
        key_uuid=UUID(int=1), workspace_uuid=UUID(int=2), scopes=["read"]
    )
    (hashed,) = hashes([SECRET.encode()], "dub_reader")
    await site.redis.set(api_key_key(hashed), reader.encode())
    request = {**a_lead(await click(site)), **changes}

    async with client_of(site, key=key) as dub:
        with pytest.raises(expected) as caught:
            await dub.track.lead_async(request=request)

    assert words in str(caught.value)
    kinds = [str(envelope.kind) for envelope in await site.appended()]
    assert ["click"] == kinds


@pytest.fixture
async def refusing() -> AsyncIterator[TestServer]:
    """A server that refuses everything, with the code in its path."""

    async def refuse(request: web.Request) -> web.Response:
        code: Any = request.match_info["code"]
        return respond(DUB.refuse(Refusal(code, field="x")), is_for_browsers=False)

    app = web.Application()
    app.router.add_post("/{code}/track/lead", refuse)
    async with TestServer(app) as server:
        yield server


@pytest.mark.parametrize("code", CODES)
async def test_every_refusal_is_typed_as_far_as_the_client_has_a_type(
    refusing: TestServer, code: RefusalCode
) -> None:
    status = DUB.refuse(Refusal(code)).status
    url = str(refusing.make_url(f"/{code}"))

    async with Dub(token=KEY, server_url=url) as dub:
        with pytest.raises(errors.DubError) as caught:
            await dub.track.lead_async(request=a_lead("x"))

    assert CLASSES.get(status, errors.SDKError) is type(caught.value)
    assert status == caught.value.status_code
