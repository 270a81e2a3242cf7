"""Bricqs over HTTP, on two edges: who is refused, and in which words."""

from uuid import UUID

import orjson

from ingest.contracts.directory import SWITCHES_KEY, SwitchesRecord, api_key_key
from tests.support.edge.referring import (
    BASE,
    KEY,
    all_of,
    convert,
    generate,
    stats,
    validate,
)
from tests.support.servers.installation import Installation, elsewhere


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
    off = SwitchesRecord(off={("program", "2")})
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
