"""Limits and switches: each event of a batch counts, and is told, by itself."""

from pathlib import Path

import pytest
from redis.asyncio import Redis

from ingest.contracts.directory import SWITCHES_KEY, SwitchesRecord
from ingest.dialects.spec.refusal import Refusal
from tests.support.edge.batching import CLICK, RECORDING, Edge, event, published, said
from tests.support.edge.showcase import KEYS, an_edge

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_limits_count_events(redis_url: str, tmp_path: Path) -> None:
    await published(redis_url, limits={"refport.key": 3, "bio_re.address": 2})
    shown = next(each for each in RECORDING if each.url == "/api/track/lead")
    leads = [
        {**event(shown), "body": {**shown.body, "customerExternalId": f"c{number}"}}
        for number in range(5)
    ]
    click = {"path": "/api/v1/referral/click/SARAH"}
    far = {**click, "ip": "203.0.113.7"}
    async with an_edge(redis_url, tmp_path) as client:
        edge = Edge(client, redis_url)
        results = await edge.results(*leads, *[click] * 3, *[far] * 3, CLICK)

    outcomes = [each["result"] for each in results]
    assert 3 == outcomes[:5].count("accepted")
    assert 2 == outcomes[5:8].count("accepted")
    assert 2 == outcomes[8:11].count("accepted")
    assert "accepted" == outcomes[11]
    refused = [each for each in results if each["result"] == "refused"]
    assert {("rate_limited", 429, True)} == {
        (each["code"], each["status"], each["retryable"]) for each in refused
    }
    assert all(1 <= each["retry_after"] <= 62 for each in refused)


@pytest.mark.parametrize("own", [2, 4])
async def test_a_keys_own_limit_stands_in_the_place_of_every_keys(
    redis_url: str, tmp_path: Path, own: int
) -> None:
    keys = {str(key.key_uuid): own for key in KEYS.values()}
    await published(redis_url, limits={"refport.key": 3, **keys})
    shown = next(each for each in RECORDING if each.url == "/api/track/lead")
    leads = [
        {**event(shown), "body": {**shown.body, "customerExternalId": f"c{number}"}}
        for number in range(5)
    ]
    async with an_edge(redis_url, tmp_path) as client:
        results = await Edge(client, redis_url).results(*leads)

    assert own == [each["result"] for each in results].count("accepted")


async def test_events_of_a_key_are_not_counted_by_address_but_by_workspace(
    redis_url: str, tmp_path: Path
) -> None:
    limits = {"affitor.click.address": 1, "affitor.click.workspace": 3}
    await published(redis_url, limits=limits)
    async with an_edge(redis_url, tmp_path) as client:
        results = await Edge(client, redis_url).results(*[CLICK] * 5)

    assert 3 == [each["result"] for each in results].count("accepted")


@pytest.mark.parametrize("by", ["address", "workspace"])
async def test_an_operator_may_limit_batches(
    redis_url: str, tmp_path: Path, by: str
) -> None:
    await published(redis_url, limits={f"batch.events.{by}": 1})
    async with an_edge(redis_url, tmp_path) as client:
        edge = Edge(client, redis_url)
        first = await edge.send([CLICK, CLICK])
        second = await edge.send([CLICK])

        assert 200 == first.status
        assert (429, "rate_limited") == await said(second)
        assert 1 <= int(second.headers["Retry-After"]) <= 62


@pytest.mark.parametrize(
    ("off", "status"),
    [
        (("installation", ""), 503),
        (("dialect", "batch"), 503),
        (("dialect", "dub"), 207),
        (("program", "1"), 207),
        (("link", "link_1"), 207),
    ],
)
async def test_what_is_switched_off_says_so(
    redis_url: str, tmp_path: Path, off: tuple[str, str], status: int
) -> None:
    await published(redis_url)
    dub = next(each for each in RECORDING if each.url == "/track/click")
    async with Redis.from_url(redis_url) as redis:
        await redis.set(SWITCHES_KEY, SwitchesRecord(off={off}).encode())
    async with an_edge(redis_url, tmp_path) as client:
        edge = Edge(client, redis_url)
        answer = await edge.send([CLICK, event(dub)])
        told = await answer.json()

    assert status == answer.status
    if status == 503:
        assert "switched_off" == told["error"]["code"]
        assert int(answer.headers["Retry-After"]) >= 1
    else:
        codes = [each.get("code") for each in told["results"]]
        expected = [None if off == ("dialect", "dub") else "switched_off"]
        assert [*expected, "switched_off"] == codes
        refused = dub.dialect.refuse(Refusal("switched_off"))
        assert refused.body == told["results"][1]["body"]
