"""What every route says to a flood from one address, or on one workspace."""

from functools import partial
from pathlib import Path

import pytest
from aiohttp import ClientResponse

from ingest.dialects.spec.refusal import Refusal
from ingest.dialects.spec.requests import Usage
from ingest.dialects.spec.routes import Limit
from ingest.rate_limit import limiter
from ingest.rate_limit.local import LocalLimiter
from tests.support.edge.calling import (
    every,
    every_route,
    is_taken,
    is_word_for_word,
    words,
)
from tests.support.edge.showcase import SHOWN, Client, Shown, an_edge, publish
from tests.support.servers.raw_http import WHOLE
from tests.support.servers.raw_http import an_edge as a_raw_edge

pytestmark = pytest.mark.asyncio(loop_scope="module")

KEYLESS = [each for each in SHOWN if not each.route.needs_key]
OPTIONAL = [each for each in KEYLESS if each.route.credential]
NEEDS_KEY = [each for each in SHOWN if each.route.needs_key]

TRUSTING = {"REFTIDE_TRUSTED_PROXIES": "127.0.0.0/8"}
HERE, THERE = "198.51.100.7", "198.51.100.8"
#: Each edge counts it by itself, or leases it in parts where the vendor documents it.
GENEROUS = 150
#: All edges share it.
SMALL = 2
#: By this header a request is not plain; it changes nothing else.
SPECIAL = b"Host: x\r\nContent-Encoding: identity"


def the_limit(shown: Shown, by: str) -> Limit:
    return next(limit for limit in shown.route.limits if limit.by == by)


async def send(
    client: Client, shown: Shown, ip: str = HERE, key: str = ""
) -> ClientResponse:
    credential = shown.credential(key) if key else {}
    return await client.request(
        shown.route.method,
        shown.url,
        json=shown.body if shown.route.body else None,
        headers={"X-Forwarded-For": ip, **credential},
    )


async def admitted(client: Client, shown: Shown, tries: int, ip: str = HERE) -> int:
    answers = [await send(client, shown, ip) for _ in range(tries)]
    return sum(answer.status != 429 for answer in answers)


async def is_refused(shown: Shown, answer: ClientResponse) -> bool:
    wait = int(answer.headers["Retry-After"])
    assert 1 <= wait <= 62
    usage = Usage(1, 0, 0, is_admitted=False, retry_after=wait)
    shows = shown.dialect.usage_headers
    assert {*(shows(usage) if shows else ())} <= {*answer.headers}
    refused = words(shown, Refusal("rate_limited", retry_after=wait))
    return await is_word_for_word(answer, refused)


@pytest.fixture
def nothing_leased(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lease that outlives its second is lost, and a slow machine needs seconds."""
    monkeypatch.setattr(limiter, "_LEASE_DIVISOR", 1_000_000)


@every(KEYLESS)
@pytest.mark.usefixtures("nothing_leased")
@pytest.mark.parametrize("most", [SMALL, GENEROUS])
async def test_a_flood_from_one_address_meets_its_limit_and_no_other_address(
    redis_url: str, tmp_path: Path, shown: Shown, most: int
) -> None:
    await publish(redis_url, limits={the_limit(shown, "address").name: most})
    async with an_edge(redis_url, tmp_path, changes=TRUSTING) as client:
        assert most == await admitted(client, shown, most + 5)
        assert await is_refused(shown, await send(client, shown))
        assert await is_taken(shown, await send(client, shown, THERE))


@every(KEYLESS)
@pytest.mark.usefixtures("nothing_leased")
async def test_of_ipv6_a_64_is_one_address(
    redis_url: str, tmp_path: Path, shown: Shown
) -> None:
    await publish(redis_url, limits={the_limit(shown, "address").name: GENEROUS})
    async with an_edge(redis_url, tmp_path, changes=TRUSTING) as client:
        assert GENEROUS == await admitted(client, shown, GENEROUS, "2001:db8::1")
        assert 429 == (await send(client, shown, "2001:db8::ffff:0:0:1")).status
        assert await is_taken(shown, await send(client, shown, "2001:db8:0:1::1"))


@every(KEYLESS)
async def test_without_an_operator_an_address_has_what_the_vendor_says_or_plenty(
    shown: Shown,
) -> None:
    limit = the_limit(shown, "address")

    assert limit.per_minute
    assert limit.is_documented or limit.per_minute >= 6000


@every(OPTIONAL)
async def test_a_request_with_a_key_is_not_counted_by_address(
    redis_url: str, tmp_path: Path, shown: Shown
) -> None:
    await publish(redis_url, limits={the_limit(shown, "address").name: SMALL})
    async with an_edge(redis_url, tmp_path, changes=TRUSTING) as client:
        for _ in range(SMALL + 2):
            assert await is_taken(shown, await send(client, shown, key="own"))
        assert SMALL == await admitted(client, shown, SMALL + 2)


@every(NEEDS_KEY)
async def test_an_operator_may_limit_a_route_with_a_key_by_address(
    redis_url: str, tmp_path: Path, shown: Shown
) -> None:
    await publish(redis_url, limits={the_limit(shown, "address").name: 1})
    async with an_edge(redis_url, tmp_path, changes=TRUSTING) as client:
        assert await is_taken(shown, await send(client, shown, key="own"))
        assert await is_refused(shown, await send(client, shown, key="own"))
        assert await is_taken(shown, await send(client, shown, THERE, key="own"))


@every_route
@pytest.mark.parametrize("most", [SMALL, GENEROUS])
async def test_a_flood_on_one_workspace_meets_its_limit_from_any_address(
    redis_url: str, tmp_path: Path, shown: Shown, most: int
) -> None:
    others = {limit.name: 100_000 for limit in shown.route.limits if limit.per_minute}
    limits = {**others, the_limit(shown, "workspace").name: most}
    await publish(redis_url, limits=limits)
    key = "own" if shown.route.needs_key else ""
    async with an_edge(redis_url, tmp_path, changes=TRUSTING) as client:
        answers = [
            await send(client, shown, f"198.51.100.{number}", key=key)
            for number in range(most + 2)
        ]

        assert most == sum(answer.status != 429 for answer in answers)
        assert await is_refused(shown, answers[-1])


async def test_plain_requests_and_all_others_count_in_the_same_window(
    redis_url: str, tmp_path: Path
) -> None:
    await publish(redis_url, limits={"affitor.click.address": GENEROUS})
    other = WHOLE.replace(b"Host: x", SPECIAL)
    async with a_raw_edge(redis_url, tmp_path) as edge, edge.caller() as caller:
        statuses = []
        for number in range(GENEROUS + 4):
            await caller.send(other if number % 2 else WHOLE)
            statuses.append((await caller.answer()).status)

    assert [200] * GENEROUS + [429] * 4 == statuses


async def test_a_plain_flood_meets_the_default(
    redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Time stands still: a busy machine may take seconds, in which a little comes free.
    still = partial(LocalLimiter, lambda: 5_000.0)
    monkeypatch.setattr(limiter, "LocalLimiter", still)
    await publish(redis_url, limits={})
    async with a_raw_edge(redis_url, tmp_path) as edge, edge.caller() as caller:
        statuses = []
        for _ in range(61):
            await caller.send(WHOLE * 100)
            statuses += [(await caller.answer()).status for _ in range(100)]

    assert 6000 == statuses.count(200)
    assert [429] * 100 == statuses[-100:]
