"""`reftide seed`: what the vendors' own examples name."""

import asyncio

import orjson
from redis import Redis

from ingest.contracts import apikey
from ingest.contracts.directory import api_key_key
from ingest.contracts.encoding.envelopes import decode
from ingest.contracts.envelope import Dedupe, Kind
from ingest.contracts.stream import FIELD, SHARDS_KEY, events_key, shard_of
from scripts.environment import Environment
from scripts.services.maintain.seed import live_keys, revoke_keys
from tests.support.servers.cli import NOW, SECRET, Cli


def _entries(redis_url: str) -> list[tuple[int, bytes]]:
    with Redis.from_url(redis_url) as redis:
        return [
            (shard, fields[FIELD])
            for shard in range(4)
            for _, fields in redis.xrange(events_key(shard))
        ]


def test_the_codes_of_the_examples_are_there(cli: Cli) -> None:
    planted = cli.document("seed")

    expected = {
        ("PARTNER123", "", 1, "PARTNER123", True, "https://yoursite.com"),
        ("alice", "go.yoursite.com", 1, "alice", True, "https://yoursite.com"),
        ("alice123", "", 1, "alice", True, "https://yoursite.com"),
        ("ALEX2026", "", 2, "user_123", True, "https://your-campaign.example.com"),
        ("jane", "", 1, "jane", True, "https://yoursite.com"),
        ("PAUSED10", "", 1, "jane", False, "https://yoursite.com"),
        ("ORPHAN", "", 1, None, True, "https://yoursite.com"),
    }
    names = ("code", "domain", "program", "partner", "is_active", "url")
    assert expected == {tuple(one[name] for name in names) for one in planted["links"]}


def test_ids_that_the_examples_show_are_fixed(cli: Cli) -> None:
    planted = cli.document("seed")

    by_code = {one["code"]: one for one in planted["links"]}
    assert "lnk_abc" == by_code["alice"]["public_id"]
    programs = {one["number"]: one["id"] for one in planted["programs"]}
    assert "550e8400-e29b-41d4-a716-446655440000" == programs[2]
    assert [60, 60] == [one["cookie_window_days"] for one in planted["programs"]]


def test_the_keys_of_the_examples_work(cli: Cli) -> None:
    cli.document("seed")

    kept = {
        row["key_hash"]: row["scopes"] for row in cli.fetch("select * from api_keys")
    }
    for key in ("YOUR_API_KEY", "bq_live_your_key", "sa_live_demo"):
        assert "track" in kept[apikey.hashes([SECRET.encode()], key)[0]]


def test_published_keys_are_revoked_for_good(cli: Cli, redis_url: str) -> None:
    environment = Environment(cli.variables, lambda: NOW)
    published = ["YOUR_API_KEY", "bq_live_your_key", "sa_live_demo"]
    (first, *_) = cli.document("seed")["keys"]
    record = api_key_key(*apikey.hashes([SECRET.encode()], first["secret"]))
    with Redis.from_url(redis_url) as redis:
        redis.set(record, b"as a worker published it")
        assert published == sorted(asyncio.run(live_keys(environment)))

        assert published == sorted(asyncio.run(revoke_keys(environment)))

        assert not redis.exists(record)
    assert [] == asyncio.run(revoke_keys(environment))
    again = cli.document("seed")["keys"]
    assert all(each["revoked_at"] for each in again)
    assert [] == asyncio.run(live_keys(environment))


def test_the_imported_click_is_an_event_like_any_other(
    cli: Cli, redis_url: str
) -> None:
    (click,) = cli.document("seed")["clicks"]

    ((shard, raw),) = _entries(redis_url)
    envelope = decode(raw)
    assert (Kind.CLICK, "import", click["click_id"]) == (
        envelope.kind,
        envelope.request.dialect,
        str(envelope.id),
    )
    assert shard_of(envelope.id, 4) == shard
    # Should a crash let it be appended twice, it is still one event.
    assert Dedupe.of("import", "abc123") == envelope.request.dedupe
    (kept,) = cli.fetch("select * from imported_clicks")
    assert ("abc123", envelope.id, envelope.target.link_id) == (
        kept["token"],
        kept["click_id"],
        kept["link_id"],
    )


def test_seeding_again_changes_nothing(cli: Cli, redis_url: str) -> None:
    first = cli.run("seed", "--json")
    again = cli.run("seed", "--json")

    assert first.document == again.document
    assert 1 == len(_entries(redis_url))


def test_shards_are_counted_as_the_first_process_wrote_them(
    cli: Cli, redis_url: str
) -> None:
    with Redis.from_url(redis_url) as redis:
        redis.set(SHARDS_KEY, 1)

    cli.document("seed")

    ((shard, _),) = _entries(redis_url)
    assert 0 == shard


def test_the_next_program_comes_after_the_demo(cli: Cli) -> None:
    cli.document("seed")

    assert 3 == cli.document("programs", "add", "Mine")["number"]


def test_program_one_of_somebody_else_is_never_taken_over(
    cli: Cli, redis_url: str
) -> None:
    cli.document("programs", "add", "Mine")

    result = cli.run("seed")

    assert (2, "") == (result.code, result.out)
    assert "belongs to workspace default" in result.err
    assert [] == _entries(redis_url)
    assert ["default"] == [one["name"] for one in cli.document("workspaces", "list")]


def test_a_code_of_somebody_else_is_never_taken_over(cli: Cli, redis_url: str) -> None:
    cli.document("links", "add", "alice123")

    assert "'alice123' belongs to workspace default" in cli.run("seed").err
    assert [] == _entries(redis_url)


def test_a_seed_that_redis_cannot_take_leaves_nothing_behind(cli: Cli) -> None:
    away = Cli({**cli.variables, "REDIS_URL": "redis://127.0.0.1:1/0"})

    assert 3 == away.run("seed").code
    assert [] == cli.document("workspaces", "list")


def test_people_see_everything_in_tables(cli: Cli) -> None:
    shown = cli.run("seed").out

    for name in (
        "PARTNER123",
        "go.yoursite.com",
        "bq_live_your_key",
        "abc123",
        "user_123",
    ):
        assert name in shown
    assert b"{" not in orjson.dumps(shown)


def test_the_campaign_of_the_examples_has_stats_until_an_operator_says_no(
    cli: Cli,
) -> None:
    first = cli.document("seed")
    cli.document("programs", "set", "2", "--no-stats")
    again = cli.document("seed")

    assert [False, True] == [one["has_stats"] for one in first["programs"]]
    assert [False, False] == [one["has_stats"] for one in again["programs"]]
