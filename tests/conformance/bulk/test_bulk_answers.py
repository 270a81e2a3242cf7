"""What `POST /v1/events` says of events that are in order, and records of them."""

import orjson
import pytest

from ingest.bulk import process
from ingest.contracts.stream import ENTRY_EVENTS
from ingest.dialects import DIALECTS
from ingest.dialects.spec.requests import RawRequest
from ingest.dialects.spec.routes import Endpoint
from ingest.reference.openapi import document
from tests.support.edge.batching import (
    CLICK,
    GENERATE,
    RECORDING,
    Edge,
    event,
    every_endpoint,
)
from tests.support.edge.showcase import Shown

pytestmark = pytest.mark.asyncio(loop_scope="module")


@every_endpoint
async def test_an_event_is_taken_as_if_it_had_been_sent_by_itself(
    edge: Edge, shown: Shown
) -> None:
    [result] = await edge.results(event(shown))

    if "sale_unknown" in shown.route.refusals:  # it counts once the sale is there
        assert 404 == result["status"]
    else:
        assert shown.route.reply.model_validate(result["body"])
        assert 200 == result["status"]
    appended = await edge.appended()
    if shown.url == GENERATE:
        assert ("duplicate", None, []) == (result["result"], result["id"], appended)
    else:
        assert "accepted" == result["result"]
        assert result["id"] in {str(envelope.id) for envelope in appended}
        assert {shown.dialect.name} == {
            envelope.request.dialect for envelope in appended
        }


def _is_anybodys(shown: Shown) -> bool:
    """Whether only the sender's idempotency key can make two events one."""
    raw = RawRequest(path=shown.path, body=orjson.dumps(shown.body))
    is_keyless = shown.route.credential is None
    return (
        is_keyless
        and isinstance(shown.route, Endpoint)
        and (shown.route.parse(raw)[0].dedupe is None)
    )


@pytest.mark.parametrize(
    "shown",
    [pytest.param(each, id=each.name) for each in RECORDING if _is_anybodys(each)],
)
async def test_an_idempotency_key_of_anybody_is_not_that_of_an_api_key(
    edge: Edge, shown: Shown
) -> None:
    headers, data = {"Idempotency-Key": "k"}, orjson.dumps(shown.body)
    await edge.client.post(shown.url, data=data, headers=headers)
    [result] = await edge.results(event(shown, idempotency_key="k"))

    assert "accepted" == result["result"]


@pytest.mark.parametrize(
    "shown",
    [pytest.param(each, id=each.name) for each in RECORDING if not _is_anybodys(each)],
)
async def test_an_event_and_the_same_sent_by_itself_are_one(
    edge: Edge, shown: Shown
) -> None:
    headers = {**shown.credential("own"), "Idempotency-Key": "k"}
    data = orjson.dumps(shown.body)
    by_itself = await edge.client.post(shown.url, data=data, headers=headers)
    first = {envelope.id for envelope in await edge.appended()}
    [result] = await edge.results(event(shown, idempotency_key="k"))

    is_early = "sale_unknown" in shown.route.refusals
    assert (404 if is_early else 200) == by_itself.status
    assert "duplicate" == result["result"]
    assert first == {envelope.id for envelope in await edge.appended()}


async def test_events_of_all_dialects_may_be_mixed(edge: Edge) -> None:
    results = await edge.results(*map(event, RECORDING))

    assert ["accepted", "duplicate"] == sorted({each["result"] for each in results})
    dialects = {envelope.request.dialect for envelope in await edge.appended()}
    assert {each.name for each in DIALECTS} == dialects


async def test_the_documented_example_is_taken(edge: Edge) -> None:
    operation = document(DIALECTS, "")["paths"]["/v1/events"]["post"]
    [body] = operation["requestBody"]["content"].values()
    results = await edge.results(*body["example"])

    assert ["accepted", "accepted"] == [each["result"] for each in results]


async def test_a_thousand_events_are_taken(
    edge: Edge, monkeypatch: pytest.MonkeyPatch
) -> None:
    # On a slow machine few events are ready within the usual slice, and share an entry.
    monkeypatch.setattr(process, "_SLICE_SECONDS", 3600)
    results = await edge.results(*[CLICK] * 1000)

    assert {"accepted"} == {each["result"] for each in results}
    appended = [str(envelope.id) for envelope in await edge.appended()]
    assert 1000 == len(set(appended))
    assert appended == sorted(each["id"] for each in results)
    entries = await edge.entries()
    assert len(entries) < 100
    assert max(map(len, entries)) <= ENTRY_EVENTS


async def test_what_the_visitor_is_said_to_be_is_recorded(edge: Edge) -> None:
    agent = {"user_agent": "Firefox", "referrer": "https://blog.example/"}
    clicks = [each for each in RECORDING if each.url.startswith("/api/v1/referral/")]
    visits = [event(each, ip="203.0.113.77", **agent) for each in clicks]
    leads = [each for each in RECORDING if each.url == "/api/track/lead"]
    visits += [event(each, ip="2001:db8:7::1", **agent) for each in leads]
    await edge.results(*visits)

    click, lead = await edge.appended()
    assert ("203.0.113.0", "Firefox") == (click.client.ip, click.client.user_agent)
    assert "https://blog.example/" == click.client.page_url
    assert click.client.visitor is not None
    assert ("2001:db8:7::", "Firefox") == (lead.client.ip, lead.client.user_agent)


async def test_the_sender_of_a_batch_is_no_visitor(edge: Edge) -> None:
    await edge.send([CLICK], User_Agent="a server's", Referer="https://server.example")

    [click] = await edge.appended()
    assert (None, None, None) == (
        click.client.ip,
        click.client.user_agent,
        click.client.visitor,
    )


async def test_an_event_happened_when_it_says_but_not_later_than_now(
    edge: Edge,
) -> None:
    times = ["2026-01-31T12:00:00Z", "2026-01-31T12:00:00.250+02:00", "2999-01-01T00Z"]
    results = await edge.results(*({**CLICK, "occurred_at": each} for each in times))

    assert {"accepted"} == {each["result"] for each in results}
    first, second, third = [envelope.request.at for envelope in await edge.appended()]
    assert (1_769_860_800_000, 1_769_853_600_250) == (first, second)
    assert third < 4_000_000_000_000


async def test_half_an_emoji_spoils_nothing(edge: Edge) -> None:
    text = orjson.dumps([CLICK, CLICK]).replace(b'"body":{', b'"body":{"a":"\\ud83d",')
    answer = await edge.send(text)

    assert 2 == (await answer.json())["accepted"]
