"""What a batch takes a key for, and what a key may not do in one."""

import orjson
import pytest

from tests.support.edge.batching import (
    CLICK,
    GENERATE,
    RECORDING,
    Edge,
    event,
    every_endpoint,
    said,
)
from tests.support.edge.showcase import KEYS, Shown

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.mark.parametrize(
    ("header", "status", "code"),
    [
        (None, 401, "credential_missing"),
        ("Basic b3duOg==", 401, "credential_malformed"),
        ("Bearer ", 401, "credential_malformed"),
        ("Bearer nobody's", 401, "unauthorised"),
        ("Bearer scopeless", 403, "forbidden"),
        ("Bearer writing", 403, "forbidden"),
    ],
)
async def test_a_batch_takes_a_key(
    edge: Edge, header: str | None, status: int, code: str
) -> None:
    headers = {"Authorization": header} if header else {}
    answer = await edge.client.post(
        "/v1/events", data=orjson.dumps([CLICK]), headers=headers
    )

    assert (status, code) == await said(answer)
    assert [] == await edge.appended()


async def test_an_event_takes_the_scope_that_its_path_wants(edge: Edge) -> None:
    generate = next(each for each in RECORDING if each.url == GENERATE)
    click, generated = await edge.results(CLICK, event(generate), key="tracking")

    assert "accepted" == click["result"]
    assert ("refused", "forbidden", 403) == (
        generated["result"],
        generated["code"],
        generated["status"],
    )


@pytest.mark.parametrize(
    "claim", [{"ip": "203.0.113.7"}, {"occurred_at": "2026-01-31T12:00:00Z"}]
)
async def test_only_a_key_that_forwards_says_from_where_and_when(
    edge: Edge, claim: dict[str, str]
) -> None:
    plain = {**CLICK, "user_agent": "Firefox", "referrer": "https://blog.example/"}
    taken, refused = await edge.results(plain, {**CLICK, **claim}, key="tracking")

    assert "accepted" == taken["result"]
    assert ("refused", "forbidden") == (refused["result"], refused["code"])
    assert [None] == [envelope.client.ip for envelope in await edge.appended()]


@every_endpoint
async def test_a_key_of_another_workspace_reaches_nothing_of_ours(
    edge: Edge, shown: Shown
) -> None:
    results = await edge.results(event(shown, ip="203.0.113.7"), key="foreign")

    assert "SARAH" not in str(results[0].get("id"))
    for envelope in await edge.appended():
        # What is organic is its own; nothing names our link.
        assert KEYS["foreign"].workspace_uuid == envelope.request.workspace_id
        assert (None, None) == (envelope.target.link_id, envelope.target.program_id)


async def test_public_events_are_sealed_without_the_key(edge: Edge) -> None:
    await edge.results(CLICK)

    [click] = await edge.appended()
    assert (None, ()) == (click.request.api_key_id, click.request.api_key_hashes)
