"""Events of batches that come again, and events that belong together."""

import pytest

from tests.support.edge.batching import CLICK, RECORDING, Edge, event

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_an_event_twice_in_a_batch_is_one(edge: Edge) -> None:
    keyed = {**CLICK, "idempotency_key": "k"}
    first, other, again = await edge.results(
        keyed, {**CLICK, "idempotency_key": "l"}, keyed
    )

    assert ("accepted", "accepted", "duplicate") == (
        first["result"],
        other["result"],
        again["result"],
    )
    assert first["id"] == again["id"] != other["id"]
    assert first["body"] == again["body"]


async def test_the_first_and_the_last_of_a_thousand_are_one(edge: Edge) -> None:
    keyed = {**CLICK, "idempotency_key": "k"}
    results = await edge.results(keyed, *[CLICK] * 998, keyed)

    assert ("accepted", "duplicate") == (results[0]["result"], results[-1]["result"])
    assert results[0]["id"] == results[-1]["id"]
    assert 999 == len({envelope.id for envelope in await edge.appended()})


async def test_of_events_with_one_key_the_first_that_is_taken_counts(
    edge: Edge,
) -> None:
    unknown = {"affiliate_url": "https://example.com/?aff=NOBODY"}
    wrong = {**CLICK, "body": unknown, "idempotency_key": "k"}
    right = {**CLICK, "idempotency_key": "k"}
    results = await edge.results(wrong, wrong, right, wrong, *[right] * 120)

    assert ["refused", "refused", "accepted", "refused"] == [
        each["result"] for each in results[:4]
    ]
    assert {"duplicate"} == {each["result"] for each in results[4:]}
    assert 1 == len({envelope.id for envelope in await edge.appended()})


async def test_a_batch_sent_again_doubles_nothing(edge: Edge) -> None:
    events = [event(each, idempotency_key=each.url) for each in RECORDING]
    first = await edge.results(*events)
    appended = {envelope.id for envelope in await edge.appended()}
    second = await edge.results(*events)

    assert [each["id"] for each in first] == [each["id"] for each in second]
    assert {"duplicate"} == {each["result"] for each in second}
    assert appended == {envelope.id for envelope in await edge.appended()}


async def test_what_is_said_of_a_customer_is_known_to_the_next_event(
    edge: Edge,
) -> None:
    click = {"path": "/track/click", "body": {"domain": "example.com", "key": "SARAH"}}
    shown = next(each for each in RECORDING if each.url == "/track/click")
    click["body"] = shown.body
    [clicked] = await edge.results(click)
    lead = {
        "clickId": clicked["body"]["clickId"],
        "eventName": "Sign up",
        "customerExternalId": "new",
    }
    sale = {"customerExternalId": "new", "amount": 500, "invoiceId": "i_1"}
    led, sold = await edge.results(
        {"path": "/track/lead", "body": lead}, {"path": "/track/sale", "body": sale}
    )

    assert ("accepted", "accepted") == (led["result"], sold["result"])
    assert "new" == sold["body"]["customer"]["externalId"]


async def test_a_visitor_known_by_a_fingerprint_is_known_to_the_next_event(
    edge: Edge,
) -> None:
    click = {"path": "/v1/track/click", "body": {"ref": "SARAH", "fingerprint": "f"}}
    lead = {"path": "/v1/track/lead", "body": {"fingerprint": "f"}}
    first, again, led = await edge.results(click, click, lead)

    assert "none" == first["body"]["match_method"]
    assert "fingerprint" == again["body"]["match_method"]
    assert led["body"]["attributed"]
