"""What every route says to one request too many, switched off, alone or with a bug."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from redis.asyncio import Redis

from ingest.contracts.directory import SWITCHES_KEY, SwitchesRecord
from ingest.core.authorize import WRONG_KEYS
from ingest.dialects import DIALECTS
from ingest.dialects.spec.refusal import Refusal
from ingest.dialects.spec.requests import RawRequest, Usage
from ingest.dialects.spec.routes import Endpoint, Query
from tests.support.edge.calling import (
    call,
    every,
    every_route,
    is_taken,
    is_word_for_word,
    words,
)
from tests.support.edge.showcase import SHOWN, Client, Shown, an_edge, publish

every_key = every([each for each in SHOWN if each.refuses_keys])
every_limit = every([each for each in SHOWN if each.route.limits])
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def alone(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Client]:
    """An edge without Redis."""
    path = tmp_path_factory.mktemp("edge")
    async with an_edge(f"unix://{path}/nobody.sock", path) as made:
        yield made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def faulty(
    url: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Client]:
    """An edge whose routes all have a bug."""
    dialects = [
        replace(each, endpoints=[*map(_burst, each.endpoints)]) for each in DIALECTS
    ]
    async with an_edge(url, tmp_path_factory.mktemp("edge"), dialects) as made:
        yield made


def _burst(route: Endpoint | Query) -> Endpoint | Query:
    def burst(_: RawRequest) -> Any:
        raise ZeroDivisionError

    if isinstance(route, Query):
        return replace(route, ask=burst)
    return replace(route, parse=burst)


@every_limit
async def test_one_request_too_many_is_refused(
    redis_url: str, tmp_path: Path, shown: Shown
) -> None:
    limits = {limit.name: 1 for limit in shown.route.limits}
    await publish(redis_url, limits=limits)
    async with an_edge(redis_url, tmp_path) as client:
        first = await call(client, shown)
        answer = await call(client, shown)

        assert await is_taken(shown, first)
        wait = int(answer.headers["Retry-After"])
        assert 1 <= wait <= 62
        refused = words(shown, Refusal("rate_limited", retry_after=wait))
        assert await is_word_for_word(answer, refused)
        usage = Usage(1, 0, 0, is_admitted=False, retry_after=wait)
        shows = shown.dialect.usage_headers
        assert {*(shows(usage) if shows else ())} <= {*answer.headers}


@every_key
async def test_one_wrong_key_too_many_is_refused_and_the_right_one_is_not(
    redis_url: str, tmp_path: Path, shown: Shown
) -> None:
    await publish(redis_url, limits={WRONG_KEYS.name: 2})
    wrong = {"headers": shown.credential("nobody's")}
    async with an_edge(redis_url, tmp_path) as client:
        first, second, third = [await call(client, shown, **wrong) for _ in range(3)]
        right = await call(client, shown)

        assert await is_word_for_word(first, words(shown, Refusal("unauthorised")))
        assert await is_word_for_word(second, words(shown, Refusal("unauthorised")))
        wait = int(third.headers["Retry-After"])
        refused = words(shown, Refusal("rate_limited", retry_after=wait))
        assert await is_word_for_word(third, refused)
        assert await is_taken(shown, right)


@pytest.mark.parametrize("scope", ["installation", "dialect"])
async def test_what_is_switched_off_says_so(
    redis_url: str, tmp_path: Path, scope: str
) -> None:
    await publish(redis_url)
    subjects = [""] if scope == "installation" else [each.name for each in DIALECTS]
    switches = SwitchesRecord(off={(scope, subject) for subject in subjects})
    async with Redis.from_url(redis_url) as redis:
        await redis.set(SWITCHES_KEY, switches.encode())
    async with an_edge(redis_url, tmp_path) as client:
        for shown in SHOWN:
            answer = await call(client, shown)

            assert await is_word_for_word(answer, words(shown, Refusal("switched_off")))


@every_route
async def test_without_redis_a_route_answers_or_asks_to_come_back(
    alone: Client, shown: Shown
) -> None:
    answer = await call(alone, shown)

    if answer.status != 200:
        wait = int(answer.headers["Retry-After"])
        refused = words(shown, Refusal("overloaded", retry_after=wait))
        assert await is_word_for_word(answer, refused)


@every_route
async def test_a_bug_is_refused_in_the_dialects_words(
    faulty: Client, shown: Shown
) -> None:
    answer = await call(faulty, shown)

    refused = words(shown, Refusal("failed", field=shown.url))
    assert await is_word_for_word(answer, refused)
    expected = "*" if shown.route.from_browsers else None
    assert expected == answer.headers.get("Access-Control-Allow-Origin")
