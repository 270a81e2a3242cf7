"""Bricqs over HTTP, on two edges and a worker: codes, conversions, stats, milestones."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson
import pytest
from aiohttp import ClientResponse

from ingest.contracts.directory import (
    GENERATION_KEY,
    LIMITS_KEY,
    SWITCHES_KEY,
    LimitsRecord,
    SwitchesRecord,
    api_key_key,
    link_key,
)
from ingest.contracts.envelope import Kind
from tests.eventually import eventually
from tests.installation import Installation, an_installation, elsewhere

BASE = "/api/v1/referrals"
CAMPAIGN = "550e8400-e29b-41d4-a716-446655440000"
KEY = {"X-API-Key": "bq_live_your_key"}
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
GOOGLEBOT = "Googlebot/2.1 (+http://www.google.com/bot.html)"
#: So soon figures must be there.
SECOND = 1.0


@pytest.fixture
async def site(
    redis_url: str, database_url: str, tmp_path: Path
) -> AsyncIterator[Installation]:
    async with an_installation(redis_url, database_url, tmp_path) as found:
        yield found


async def generate(
    site: Installation,
    participant: str = "user_9",
    edge: int = 0,
    headers: Mapping[str, str] = KEY,
) -> ClientResponse:
    body = {"participant_id": participant, "campaign_id": CAMPAIGN}
    return await site.edges[edge].post(
        f"{BASE}/generate", json=body, headers={**elsewhere(), **headers}
    )


async def code_of(site: Installation, participant: str = "user_9") -> str:
    found = await (await generate(site, participant)).json()
    return str(found["code"])


async def validate(site: Installation, code: str, edge: int = 0) -> ClientResponse:
    path = f"{BASE}/validate/{code}"
    return await site.edges[edge].get(path, headers=elsewhere())


async def convert(
    site: Installation,
    code: str = "ALEX2026",
    session: str = "sess_newuser_456",
    edge: int = 0,
    headers: Mapping[str, str] | None = None,
) -> ClientResponse:
    body = {"code": code, "referred_session_id": session}
    return await site.edges[edge].post(
        f"{BASE}/convert", json=body, headers={**elsewhere(), **(headers or {})}
    )


async def stats(site: Installation, participant: str, edge: int = 0) -> ClientResponse:
    path = f"{BASE}/stats/{participant}"
    return await site.edges[edge].get(path, headers={**elsewhere(), **KEY})


async def click(site: Installation, session: str, agent: str = FIREFOX) -> None:
    """A click that Affitor's tracker reports, in a session."""
    url = "https://your-campaign.example.com/?aff=ALEX2026"
    body = {"affiliate_url": url, "session_id": session, "user_agent": agent}
    path = "/api/v1/track/click"
    answer = await site.edges[0].post(path, json=body, headers=elsewhere())
    assert 200 == answer.status


async def lift_limits(site: Installation) -> None:
    """Let tests look as often as they like."""
    names = ("bricqs.address", "bricqs.key", "bricqs.workspace")
    limits = LimitsRecord(per_minute=dict.fromkeys(names, 1_000_000))
    await site.redis.set(LIMITS_KEY, limits.encode())


async def bodies(answers: Sequence[ClientResponse]) -> list[Any]:
    assert {200} == {answer.status for answer in answers}
    return [await answer.json() for answer in answers]


async def all_of(calls: Sequence[Any]) -> list[ClientResponse]:
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(call) for call in calls]
    return [task.result() for task in running]


# The vendor's examples -------------------------------------------------------------------


async def test_the_vendors_examples_work_as_printed(site: Installation) -> None:
    generated = await (await generate(site, "user_123")).json()
    validated = await (await validate(site, "ALEX2026")).json()
    converted = await (await convert(site)).json()
    counted = await (await stats(site, "user_123")).json()

    assert ["code", "referral_url", "participant_id", "created_at"] == [*generated]
    assert "ALEX2026" == generated["code"]
    url = "https://your-campaign.example.com?ref=ALEX2026"
    assert url == generated["referral_url"]
    assert {
        "valid": True,
        "code": "ALEX2026",
        "referrer_id": "user_123",
        "campaign_id": CAMPAIGN,
    } == validated
    assert ["converted", "referrer_id", "conversion_id"] == [*converted]
    assert (True, "user_123") == (converted["converted"], converted["referrer_id"])
    assert converted["conversion_id"].startswith("conv_")
    assert {
        "participant_id": "user_123",
        "total_referrals": 0,
        "conversions": 0,
        "pending": 0,
        "referral_code": "ALEX2026",
    } == counted
    # A code that was there already is no event.
    assert [Kind.LEAD] == [envelope.kind for envelope in await site.appended()]


# Codes -----------------------------------------------------------------------------------


async def test_a_hundred_who_ask_at_once_get_one_code_and_make_one_link(
    site: Installation,
) -> None:
    asked = [generate(site, edge=number % 2) for number in range(100)]
    first, *others = await bodies(await all_of(asked))
    assert all(first == other for other in others)

    site.start_worker()
    await site.rests()
    assert [(first["code"],)] == await site.rows(
        "select links.code from links join partners on partners.id = partner_id"
        " where partners.code = 'user_9'"
    )
    assert [] == await site.rows("select code from link_aliases")
    made = await site.rows("select count(*) from events where kind = 'link'")
    assert [(1,)] == made

    async def is_published() -> bool:
        return bool(await site.redis.exists(link_key("-", first["code"])))

    await eventually(is_published)
    later = await all_of([generate(site, edge=number) for number in (0, 1)])
    assert [first, first] == await bodies(later)


async def test_participants_and_campaigns_have_codes_of_their_own(
    site: Installation,
) -> None:
    codes = [await code_of(site, name) for name in ("a", "b", "A", "a ", "ä", "a/b")]

    assert 6 == len({*codes})
    assert {13} == {len(code) for code in codes}


async def test_a_new_code_is_valid_on_every_edge_before_any_worker(
    site: Installation,
) -> None:
    code = await code_of(site)

    for edge in (1, 0):
        answer = await validate(site, code, edge)
        expected = {
            "valid": True,
            "code": code,
            "referrer_id": "user_9",
            "campaign_id": CAMPAIGN,
        }
        assert (200, expected) == (answer.status, await answer.json())
    # Codes are case sensitive.
    assert 404 == (await validate(site, code.lower())).status


async def test_a_conversion_before_any_worker_is_recorded_on_the_link_it_made(
    site: Installation,
) -> None:
    code = await code_of(site)
    answer = await convert(site, code, "s1", edge=1)
    assert "user_9" == (await answer.json())["referrer_id"]
    # A landing page's click, by the words of another vendor.
    clicked = await site.edges[1].post(
        f"/api/v1/referral/click/{code}", headers=elsewhere()
    )
    assert 200 == clicked.status

    site.start_worker()
    await site.rests()

    assert [(code, "user_9", UUID(CAMPAIGN), 1, 1)] == await site.rows(
        "select links.code, partners.code, program_id, leads, clicks from links"
        " join partners on partners.id = partner_id where links.code = $1",
        code,
    )
    assert [(1,)] == await site.rows(
        "select count(*) from events where kind = 'lead' and session = 's1'"
        " and link_id = (select id from links where code = $1)",
        code,
    )
    assert [] == await site.rows("select reason from quarantine")


# Conversions -----------------------------------------------------------------------------


async def test_two_hundred_equal_conversions_at_once_are_one(
    site: Installation,
) -> None:
    site.start_worker()
    asked = [convert(site, edge=number % 2) for number in range(200)]
    first, *others = await bodies(await all_of(asked))
    assert all(first == other for other in others)

    await site.rests()
    again = await bodies([await convert(site, edge=1)])
    await site.rests()

    assert [first] == again
    counted = "select leads from links where code = 'ALEX2026'"
    assert [(1,)] == await site.rows(counted)


async def test_a_session_converts_every_code_once(site: Installation) -> None:
    other = await code_of(site)
    pairs = [("ALEX2026", "s1"), ("ALEX2026", "s2"), (other, "s1"), (other, "S1")]
    told = await bodies([await convert(site, *pair) for pair in pairs])
    site.start_worker()
    await site.rests()

    assert 4 == len({one["conversion_id"] for one in told})
    assert ["user_123", "user_123", "user_9", "user_9"] == [
        one["referrer_id"] for one in told
    ]
    assert [(2,), (2,)] == await site.rows(
        "select leads from links where code in ('ALEX2026', $1)", other
    )


async def test_an_idempotency_key_neither_adds_nor_swallows_a_conversion(
    site: Installation,
) -> None:
    one, other = {"Idempotency-Key": "k:1"}, {"Idempotency-Key": "k:2"}
    first = await convert(site, session="s1", headers=one)
    same = await convert(site, session="s1", headers=one)
    renewed = await convert(site, session="s1", headers=other)
    another = await convert(site, session="s2", headers=one)
    told = await bodies([first, same, renewed, another])
    site.start_worker()
    await site.rests()

    assert told[0] == told[1] == told[2]
    assert told[0] != told[3]
    counted = "select leads from links where code = 'ALEX2026'"
    assert [(2,)] == await site.rows(counted)


async def test_a_conversion_without_a_directory_waits_for_one(
    site: Installation,
) -> None:
    known = await (await convert(site, session="s1")).json()
    await site.redis.delete(GENERATION_KEY, link_key("-", "ALEX2026"))
    asked = {"code": "ALEX2026", "referred_session_id": "s1"}
    fresh = site.edges[1]
    answer = await fresh.post(f"{BASE}/convert", json=asked, headers=elsewhere())

    assert {**known, "referrer_id": None} == await answer.json()
    unknown = await validate(site, "ALEX2026", edge=1)
    assert 503 == unknown.status
    assert 1 <= int(unknown.headers["Retry-After"])
    site.start_worker()
    await site.rests()
    counted = "select leads from links where code = 'ALEX2026'"
    assert [(1,)] == await site.rows(counted)


async def test_no_code_is_made_without_a_directory(site: Installation) -> None:
    await site.redis.delete(GENERATION_KEY)

    answer = await generate(site, "somebody")

    assert 503 == answer.status
    assert [] == await site.appended()


# Stats and milestones --------------------------------------------------------------------


async def test_stats_are_there_within_a_second_and_exact_at_rest(
    site: Installation,
) -> None:
    await lift_limits(site)
    site.start_worker()

    async def shows(conversions: int, pending: int) -> bool:
        found = await (await stats(site, "user_123", edge=1)).json()
        return bool((conversions, pending) == (found["conversions"], found["pending"]))

    # However long a worker takes to start.
    await click(site, "warm-up")
    await eventually(lambda: shows(0, 1))
    await click(site, "s1")
    await convert(site, session="s1")
    await eventually(lambda: shows(1, 1), within=SECOND)

    sessions = [f"visit-{number}" for number in range(30)]
    async with asyncio.TaskGroup() as tasks:
        for session in sessions:
            tasks.create_task(click(site, session))
            tasks.create_task(click(site, session))
        for session in [*sessions[:12], *sessions[:12], "walk-in"]:
            tasks.create_task(convert(site, session=session, edge=1))
        # A bot is no referral, and a click without a session none that could convert.
        tasks.create_task(click(site, "bot", GOOGLEBOT))
        tasks.create_task(click(site, ""))
    await site.rests()

    async def is_exact() -> bool:
        found = [await (await stats(site, "user_123", edge)).json() for edge in (0, 1)]
        # s1, twelve visits and the walk-in; eighteen visits and the warm-up.
        expected = {
            "participant_id": "user_123",
            "total_referrals": 33,
            "conversions": 14,
            "pending": 19,
            "referral_code": "ALEX2026",
        }
        return found == [expected, expected]

    await eventually(is_exact, within=5)


async def test_who_was_just_given_a_code_has_stats_within_a_second(
    site: Installation,
) -> None:
    await lift_limits(site)
    site.start_worker()

    async def has_stats(participant: str, code: str) -> bool:
        answer = await stats(site, participant, edge=1)
        found = await answer.json()
        return answer.status == 200 and bool(found["referral_code"] == code)

    # However long a worker takes to start.
    first = await code_of(site, "warm-up")
    await eventually(lambda: has_stats("warm-up", first))
    code = await code_of(site)
    await eventually(lambda: has_stats("user_9", code), within=SECOND)


async def test_a_milestone_is_awarded_once(site: Installation) -> None:
    await site.database.execute(
        "insert into milestones (id, program_id, name, converts)"
        " values ($1, $2, 'Refer 5 friends', 5)",
        UUID(int=5),
        UUID(CAMPAIGN),
    )
    site.start_worker()
    for _ in range(2):
        await all_of([convert(site, session=f"s{number % 8}") for number in range(40)])
        await site.rests()

    assert [("Refer 5 friends", "user_123")] == await site.rows(
        "select milestones.name, partners.code from awards"
        " join milestones on milestones.id = milestone_id"
        " join partners on partners.id = awards.partner_id"
    )


# Saying no -------------------------------------------------------------------------------


async def test_a_code_that_is_nobodys_is_not_found(site: Installation) -> None:
    expected = {"detail": "Referral code not found"}
    codes = ("nobody", "alex2026", "PAUSED10", "ORPHAN", "%00", "%ff", "x" * 3_000)
    for code in codes:
        asked = await validate(site, code)
        assert (404, expected) == (asked.status, await asked.json())
        assert "*" == asked.headers["Access-Control-Allow-Origin"]
    for code in ("nobody", "alex2026", "PAUSED10", "ORPHAN", "a\0b"):
        told = await convert(site, code)
        assert (404, expected) == (told.status, await told.json())
    assert [] == await site.appended()


async def test_participants_and_campaigns_that_nobody_knows_are_not_found(
    site: Installation,
) -> None:
    body = {"participant_id": "user_9", "campaign_id": str(UUID(int=9))}
    campaign = await site.edges[0].post(f"{BASE}/generate", json=body, headers=KEY)
    participants = [await stats(site, name) for name in ("nobody", "%00", "%ff")]
    unusable = await generate(site, "a\0b")

    expected = {"detail": "Campaign not found"}
    assert (404, expected) == (campaign.status, await campaign.json())
    for answer in (*participants, unusable):
        expected = {"detail": "Participant not found"}
        assert (404, expected) == (answer.status, await answer.json())


async def test_a_key_must_be_known_and_have_the_scope(site: Installation) -> None:
    wrong: tuple[dict[str, str], ...] = (
        {},
        {"X-API-Key": ""},
        {"X-API-Key": "bq_live_nobodys"},
        {"Authorization": "Bearer bq_live_your_key"},
    )
    for headers in wrong:
        made = await generate(site, headers=headers)
        asked = await site.edges[0].get(f"{BASE}/stats/user_123", headers=headers)
        expected = {"detail": "Invalid or missing API key"}
        assert [401, 401] == [made.status, asked.status]
        assert [expected, expected] == [await made.json(), await asked.json()]
    # A key of the tracking routes, and one that may only read.
    tracks = await generate(site, headers={"X-API-Key": "YOUR_API_KEY"})
    expected = {"detail": "The API key lacks the required scope"}
    assert (403, expected) == (tracks.status, await tracks.json())
    assert [] == await site.appended()


async def test_a_campaign_of_another_workspace_does_not_exist(
    site: Installation,
) -> None:
    [(raw,)] = [
        (found,)
        for key in [item async for item in site.redis.scan_iter(f"{api_key_key(b'')}*")]
        if b"write" in (found := await site.redis.get(key))
    ]
    foreign = {**orjson.loads(raw), "workspace_uuid": str(UUID(int=77))}
    for key in [item async for item in site.redis.scan_iter(f"{api_key_key(b'')}*")]:
        await site.redis.set(key, orjson.dumps(foreign))

    made, asked = await generate(site), await stats(site, "user_123")

    assert (404, "Campaign not found") == (made.status, (await made.json())["detail"])
    expected = (404, "Participant not found")
    assert expected == (asked.status, (await asked.json())["detail"])


async def test_every_answer_tells_how_far_the_limit_is_used(site: Installation) -> None:
    caller = elsewhere()
    told = [
        await site.edges[number % 2].get(f"{BASE}/validate/ALEX2026", headers=caller)
        for number in range(101)
    ]

    assert [200] * 100 + [429] == [answer.status for answer in told]
    assert {"100"} == {answer.headers["X-RateLimit-Limit"] for answer in told}
    left = [int(answer.headers["X-RateLimit-Remaining"]) for answer in told]
    assert [*range(99, -1, -1), 0] == left
    last = told[-1]
    assert {"detail": "Rate limit exceeded"} == await last.json()
    assert 1 <= int(last.headers["Retry-After"]) <= 65
    assert 1_700_000_000 < int(last.headers["X-RateLimit-Reset"]) < 10_000_000_000
    assert "*" == last.headers["Access-Control-Allow-Origin"]
    # One limit for all routes; and the tightest is told, whichever that is.
    body = {"code": "ALEX2026", "referred_session_id": "s"}
    refused = await site.edges[0].post(f"{BASE}/convert", json=body, headers=caller)
    assert 429 == refused.status
    unknown = await validate(site, "nobody")
    assert (404, "99") == (unknown.status, unknown.headers["X-RateLimit-Remaining"])


async def test_a_workspace_has_a_limit_over_all_addresses(site: Installation) -> None:
    asked = [generate(site, "user_123", edge=number % 2) for number in range(201)]
    told = await all_of(asked)

    statuses = sorted(answer.status for answer in told)
    assert [200] * 200 + [429] == statuses
    [refused] = [answer for answer in told if answer.status == 429]
    assert "200" == refused.headers["X-RateLimit-Limit"]


async def test_a_switched_off_campaign_answers_nobody(site: Installation) -> None:
    off = SwitchesRecord(off=[("program", "2")])
    await site.redis.set(SWITCHES_KEY, off.encode())

    told = [
        await generate(site, "user_123"),
        await validate(site, "ALEX2026"),
        await convert(site),
    ]

    assert [503, 503, 503] == [answer.status for answer in told]
    assert [] == await site.appended()


async def test_other_paths_and_methods_are_refused_in_the_vendors_words(
    site: Installation,
) -> None:
    client = site.edges[0]
    asked = [
        (await client.get(f"{BASE}/generate"), 405, "Method Not Allowed"),
        (await client.head(f"{BASE}/validate/ALEX2026"), 405, None),
        (await client.post(f"{BASE}/validate/ALEX2026"), 405, "Method Not Allowed"),
        (await client.get(f"{BASE}/stats"), 404, "Not Found"),
        (await client.get(BASE), 404, "Not Found"),
        (await client.post(f"{BASE}/convert", data=b"{"), 400, "JSON"),
        (await client.post(f"{BASE}/convert"), 400, "code is required"),
    ]

    for answer, status, words in asked:
        assert status == answer.status
        if words is not None:
            assert words in (await answer.json())["detail"]
