"""Whatever becomes of a click, its visitor is led on."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from redis.asyncio import Redis

from ingest.contracts.clickid import KeyRing
from ingest.contracts.directory import (
    LIMITS_KEY,
    SWITCHES_KEY,
    LimitsRecord,
    SwitchesRecord,
)
from ingest.contracts.metrics.edge import REGISTRY
from ingest.core.accept import Acceptor
from ingest.redirect.redirects import Redirects
from tests.support.edge.redirecting import LINK, Landed, publish, visiting
from tests.support.edge.showcase import SECRET
from tests.support.eventually import eventually
from tests.support.metrics import shown
from tests.support.servers.edges import recorded
from tests.support.servers.valkey import Valkey

BARE = "https://shop.example/p?utm_source=own#top"


def is_bare(landed: Landed) -> bool:
    return (302, BARE, None) == (landed.status, landed.location, landed.cookie)


def lost(dialect: str, reason: str) -> Callable[[], float]:
    """How many more are lost than there were."""
    labels = {"dialect": dialect, "reason": reason}
    before = shown(REGISTRY, "reftide_edge_lost_total", **labels)
    return lambda: shown(REGISTRY, "reftide_edge_lost_total", **labels) - before


@pytest.mark.parametrize(
    ("scope", "subject", "dialect"),
    [
        ("installation", "", "redirect"),
        ("dialect", "redirect", "redirect"),
        ("dialect", "pixel", "pixel"),
    ],
)
async def test_while_recording_is_switched_off_visitors_are_led_on_without_an_id(
    redis_url: str, tmp_path: Path, scope: str, subject: str, dialect: str
) -> None:
    await publish(redis_url)
    off = SwitchesRecord(off={(scope, subject)})
    async with Redis.from_url(redis_url) as redis:
        await redis.set(SWITCHES_KEY, off.encode())
    count = lost(dialect, "switched_off")

    async with visiting(redis_url, tmp_path) as visitor:
        if dialect == "pixel":
            landed = await visitor.get("/p/ALICE.gif")
            assert (200, None) == (landed.status, landed.cookie)
        else:
            assert is_bare(await visitor.get("/r/ALICE"))

    assert 1 == count()
    assert [] == await recorded(redis_url)


@pytest.mark.parametrize("is_plain", [True, False], ids=["plain", "aiohttp"])
async def test_beyond_a_limit_visitors_are_led_on_without_an_id(
    redis_url: str, tmp_path: Path, *, is_plain: bool
) -> None:
    await publish(redis_url)
    limits = LimitsRecord(per_minute={"redirect.r.address": 2})
    async with Redis.from_url(redis_url) as redis:
        await redis.set(LIMITS_KEY, limits.encode())
    count = lost("redirect", "rate_limited")

    async with visiting(redis_url, tmp_path, is_plain=is_plain) as visitor:
        landed = [await visitor.get("/r/ALICE") for _ in range(5)]

    assert [False, False, True, True, True] == list(map(is_bare, landed))
    assert 3 == count()
    assert 2 == len(await recorded(redis_url))


@pytest.mark.hasty
async def test_with_redis_away_and_no_spool_visitors_are_led_on_without_an_id(
    valkey: Valkey, tmp_path: Path
) -> None:
    await publish(valkey.url)
    count = lost("redirect", "overloaded")

    async with visiting(valkey.url, tmp_path, REFTIDE_SPOOL_BYTES="0") as visitor:
        assert not is_bare(await visitor.get("/r/ALICE"))
        await asyncio.to_thread(valkey.kill)
        assert is_bare(await visitor.get("/r/ALICE"))

    assert 1 == count()


async def test_a_bug_is_told_to_the_log_and_the_visitor_is_led_on(
    redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    await publish(redis_url)
    monkeypatch.setattr(Acceptor, "accept", fail)
    count = lost("redirect", "failed")

    async with visiting(redis_url, tmp_path, is_plain=False) as visitor:
        assert is_bare(await visitor.get("/r/ALICE"))

    assert 1 == count()


async def test_a_bug_before_that_is_no_broken_image(
    redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> None:
        raise ZeroDivisionError

    await publish(redis_url)
    monkeypatch.setattr(Redirects, "domain", fail)

    async with visiting(redis_url, tmp_path) as visitor:
        landed = await visitor.get("/r/ALICE")
        pixel = await visitor.get("/p/ALICE.gif")

    assert (503, "1") == (landed.status, landed.headers["retry-after"])
    assert (200, 43) == (pixel.status, len(pixel.body))


@pytest.mark.hasty
async def test_what_cannot_be_looked_up_is_no_broken_link(
    valkey: Valkey, tmp_path: Path
) -> None:
    await publish(valkey.url)

    async with visiting(valkey.url, tmp_path) as visitor:
        await visitor.get("/r/warm")
        await asyncio.to_thread(valkey.kill)
        landed = await visitor.get("/r/ALICE")
        pixel = await visitor.get("/p/ALICE.gif")

    assert (503, "1") == (landed.status, landed.headers["retry-after"])
    assert (200, 43) == (pixel.status, len(pixel.body))


@pytest.mark.hasty
async def test_while_redis_is_frozen_every_visitor_gets_an_id_that_is_recorded_later(
    valkey: Valkey, tmp_path: Path
) -> None:
    await publish(valkey.url)
    async with visiting(valkey.url, tmp_path) as visitor:
        await visitor.get("/r/ALICE")
        valkey.freeze()
        landed = [await visitor.get("/r/ALICE") for _ in range(20)]
        valkey.thaw()

        async def are_recorded() -> bool:
            events = {event.id for event in await recorded(valkey.url)}
            return len(events) == 1 + len(landed)

        await eventually(are_recorded)

    ids = {each.location for each in landed}
    assert len(landed) == len(ids)
    tokens = {
        KeyRing([SECRET.encode()]).issue(event.id, LINK.link_uuid)
        for event in await recorded(valkey.url)
    }
    assert tokens > {each.removesuffix("#top").partition("dub_id=")[2] for each in ids}
