"""`X-Reftide-Forward`: a key by which a server says from which address a request comes."""

from pathlib import Path

import pytest

from ingest.core.authorize import WRONG_KEYS
from ingest.dialects.spec.refusal import Refusal
from ingest.dialects.spec.routes import Endpoint
from tests.support.edge.batching import CLICK, Edge, published
from tests.support.edge.calling import call, every, is_taken, is_word_for_word, words
from tests.support.edge.showcase import SHOWN, Client, Shown, an_edge

every_key = every([each for each in SHOWN if each.refuses_keys])
every_open = every(
    [
        each
        for each in SHOWN
        if isinstance(each.route, Endpoint) and not each.route.credential
    ]
)
pytestmark = pytest.mark.asyncio(loop_scope="module")

ADDRESS = "198.51.100.7"
MINE = "127.0.0.0"


def forwarded(key: str, address: str = ADDRESS) -> dict[str, str]:
    return {"X-Reftide-Forward": key, "X-Forwarded-For": address}


@every_open
@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("forwarding", "198.51.100.0"),
        ("own", "198.51.100.0"),
        ("tracking", MINE),
        ("reading", MINE),
        ("nobody's", MINE),
        ("rt_mistyped", MINE),
        ("x" * 513, MINE),
        ("", MINE),
    ],
)
async def test_an_address_counts_only_beside_a_key_that_forwards(
    edge: Edge, shown: Shown, key: str, expected: str
) -> None:
    answer = await call(edge.client, shown, headers=forwarded(key))

    assert await is_taken(shown, answer)
    assert {expected} == {event.client.ip for event in await edge.appended()}


@every_key
async def test_a_key_that_forwards_lets_nobody_in(edge: Edge, shown: Shown) -> None:
    headers = {**shown.credential("nobody's"), **forwarded("own")}
    answer = await call(edge.client, shown, headers=headers)

    assert await is_word_for_word(answer, words(shown, Refusal("unauthorised")))


@every_key
async def test_wrong_keys_are_counted_by_the_address_that_is_forwarded(
    redis_url: str, tmp_path: Path, shown: Shown
) -> None:
    await published(redis_url, limits={WRONG_KEYS.name: 1})
    wrong = shown.credential("nobody's")
    async with an_edge(redis_url, tmp_path) as client:
        for number in range(3):
            headers = {**wrong, **forwarded("forwarding", f"198.51.100.{number}")}
            answer = await call(client, shown, headers=headers)
            assert await is_word_for_word(answer, words(shown, Refusal("unauthorised")))
        again = await call(client, shown, headers=headers)

        assert 429 == again.status
        assert await is_taken(shown, await call(client, shown))


async def test_a_wrong_key_that_forwards_is_counted_like_any_other(
    redis_url: str, tmp_path: Path
) -> None:
    await published(redis_url, limits={WRONG_KEYS.name: 2})
    keyed = next(each for each in SHOWN if each.route.credential)
    async with an_edge(redis_url, tmp_path) as client:
        for _ in range(3):
            assert await is_clicked(client, forwarded("nobody's"))
        answer = await call(client, keyed, headers=keyed.credential("nobody's"))

        assert 429 == answer.status


async def is_clicked(client: Client, headers: dict[str, str]) -> bool:
    answer = await client.post(CLICK["path"], json=CLICK["body"], headers=headers)
    return answer.status == 200


async def test_a_batch_is_counted_by_the_address_that_is_forwarded(
    redis_url: str, tmp_path: Path
) -> None:
    limited, name = next(
        (each, limit.name)
        for each in SHOWN
        for limit in each.route.limits
        if isinstance(each.route, Endpoint)
        and limit.by == "address"
        and limit.is_documented
    )
    await published(redis_url, limits={name: 1})
    said = []
    async with an_edge(redis_url, tmp_path) as client:
        edge = Edge(client, redis_url)
        for address in ("198.51.100.1", "198.51.100.2", "198.51.100.2"):
            batch = [{"path": limited.url, "body": limited.body}]
            answer = await edge.send(batch, "own", **forwarded("forwarding", address))
            said += (await answer.json())["results"]

    assert ["accepted", "accepted", "refused"] == [each["result"] for each in said]
    assert "rate_limited" == said[-1]["code"]
