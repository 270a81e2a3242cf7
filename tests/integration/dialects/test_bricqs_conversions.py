"""Bricqs over HTTP, on two edges and a worker: conversions, each counted once."""

import asyncio

from ingest.contracts.directory import GENERATION_KEY, link_key
from tests.support.edge.referring import (
    BASE,
    all_of,
    bodies,
    code_of,
    convert,
    validate,
)
from tests.support.servers.cli import Cli
from tests.support.servers.installation import Installation, elsewhere


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


async def test_no_key_vouches_for_a_conversion(site: Installation, cli: Cli) -> None:
    await convert(site)
    site.start_worker()
    await site.rests()

    [(event_id,)] = await site.rows("select id::text from events where kind = 'lead'")
    shown = await asyncio.to_thread(cli.document, "event", event_id)
    assert shown["event"]["is_unverified"]


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
