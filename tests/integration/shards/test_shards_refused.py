"""What `reftide shards` shows, and when it changes nothing and says why."""

import pytest
from redis import Redis

from ingest.contracts.placement.layout import Layout
from ingest.contracts.stream import (
    ARCHIVE_GROUP,
    EDGES_KEY,
    GROUP,
    GROUPS_KEY,
    SHARDS_CHANGE_KEY,
    SHARDS_KEY,
    WORKERS_KEY,
    edge_key,
    events_key,
    heartbeat_key,
)
from tests.support.servers.cli import Cli
from tests.support.servers.valkey import running_valkey
from workers.stream.liveness import heartbeat


@pytest.fixture
def redis(redis_url: str) -> Redis:
    """Four shards; shard 3 has an entry that was read, and one that was not."""
    with Redis.from_url(redis_url, decode_responses=True) as client:
        client.set(SHARDS_KEY, 4)
        for _ in range(2):
            client.xadd(events_key(3), {"e": "x"})
        client.xgroup_create(events_key(3), GROUP, id="0")
        [[_, [(entry, _)]]] = client.xreadgroup(
            GROUP, "a", {events_key(3): ">"}, count=1
        )
        client.xack(events_key(3), GROUP, entry)
        return client


def drained(redis: Redis) -> None:
    redis.xgroup_setid(events_key(3), GROUP, "$")


def is_untouched(redis: Redis) -> bool:
    redis.xadd(events_key(3), {"e": "x"})
    return not redis.exists(SHARDS_CHANGE_KEY) and redis.get(SHARDS_KEY) == "4"


def refused(cli: Cli, *words: str, code: int = 1) -> str:
    done = cli.run("shards", *words, "--json")
    assert (code, "") == (done.code, done.out)
    return done.err


def test_it_shows_shards_tags_slots_and_who_runs(cli: Cli, redis: Redis) -> None:
    redis.sadd(WORKERS_KEY, "one", "old", "gone")
    redis.set(heartbeat_key("one"), heartbeat(Layout.at_home(4)))
    redis.set(heartbeat_key("old"), "1")

    found = cli.document("shards")
    shown = cli.run("shards").out

    assert {"4": 1, "unknown": 1} == found["workers"]
    assert ("4", 4, None, {}) == (
        found["agreed"], found["count"], found["change"], found["edges"],
    )  # fmt: skip
    expected = {
        "shard": 3, "tag": "{rt:3}", "slot": 1979, "server": "REDIS_URL",
        "entries": 2, "in_flight": 1, "sealed": False,
    }  # fmt: skip
    assert expected == found["shards"][3]
    assert "Agreed on in Redis: 4. Running: 1 worker with " in shown


def test_a_dry_run_changes_nothing(cli: Cli, redis: Redis) -> None:
    drained(redis)

    found = cli.document("shards", "--to", "2", "--drop-entries", "--dry-run")
    shown = cli.run("shards", "--to", "2", "--drop-entries", "--dry-run")

    assert {
        "from": "4", "to": "2", "shards": [0, 1], "sealed": [2, 3], "opened": [],
        "in_flight": 0, "kept": 2, "settings": {"REFTIDE_SHARDS": "2"}, "is_done": False,
        "removed": 0,
    } == found  # fmt: skip
    assert "To be sealed: 2, 3." in shown.out
    assert is_untouched(redis)


def test_the_number_that_there_is_changes_nothing(cli: Cli, redis: Redis) -> None:
    assert "There is nothing to do: there are 4" in cli.run("shards", "--to", "4").out
    assert is_untouched(redis)


def test_without_workers_nothing_is_sealed_that_is_unread(
    cli: Cli, redis: Redis
) -> None:
    said = refused(cli, "--to", "2", "--drop-entries")

    assert "No worker that is alive reads them, and 1 entries wait in shards 3" in said
    assert "REFTIDE_SHARDS=4" in said
    assert is_untouched(redis)


def test_workers_of_other_shards_do_not_count(cli: Cli, redis: Redis) -> None:
    redis.sadd(WORKERS_KEY, "one")
    redis.set(heartbeat_key("one"), heartbeat(Layout.at_home(2)))

    assert "No worker that is alive reads" in refused(
        cli, "--to", "2", "--drop-entries"
    )
    assert is_untouched(redis)


@pytest.mark.parametrize("kind", ["edge", "worker"])
def test_nothing_is_sealed_while_a_former_release_runs(
    cli: Cli, redis: Redis, kind: str
) -> None:
    drained(redis)
    if kind == "edge":
        redis.zadd(EDGES_KEY, {"old": 1})
        redis.set(edge_key("old"), '{"level": "stream"}')
    else:
        redis.sadd(WORKERS_KEY, "old")
        redis.set(heartbeat_key("old"), "1")

    said = refused(cli, "--to", "2", "--drop-entries")

    assert f"Of a former release, which knows of no change: {kind} old" in said
    assert "docs/upgrading.md" in said
    assert is_untouched(redis)


def test_without_workers_what_is_at_rest_is_changed(cli: Cli, redis: Redis) -> None:
    drained(redis)

    done = cli.run("shards", "--to", "2", "--drop-entries")

    assert "There are 2 shards; 2 entries deleted." in done.out
    assert "REFTIDE_SHARDS=2" in done.out
    assert "2" == redis.get(SHARDS_KEY)
    with pytest.raises(Exception, match="exhausted the last possible ID"):
        redis.xadd(events_key(3), {"e": "x"})


def test_while_recording_is_paused_nothing_is_sealed(cli: Cli, redis: Redis) -> None:
    drained(redis)
    cli.fetch(
        "insert into pauses (cause, detail, consumer) values ('bug', 'a bug', 'one')"
    )

    said = refused(cli, "--to", "2", "--drop-entries")

    assert "Recording is paused: a bug" in said
    assert "`reftide resume`" in said
    assert is_untouched(redis)


def test_what_replays_might_need_is_kept(cli: Cli, redis: Redis) -> None:
    drained(redis)

    said = refused(cli, "--to", "2")

    assert "2 recorded entries would leave the streams" in said
    assert "--drop-entries" in said
    assert is_untouched(redis)


def test_the_archive_has_to_have_read_a_shard(cli: Cli, redis: Redis) -> None:
    drained(redis)
    redis.sadd(GROUPS_KEY, ARCHIVE_GROUP)
    redis.xgroup_create(events_key(3), ARCHIVE_GROUP, id="0")
    redis.sadd(WORKERS_KEY, "one")
    redis.set(heartbeat_key("one"), heartbeat(Layout.at_home(4)))

    said = refused(cli, "--to", "2", "--wait", "0")
    shown = cli.document("shards")
    redis.xgroup_setid(events_key(3), ARCHIVE_GROUP, "$")
    done = cli.document("shards", "--to", "2")

    assert "After 0 s 1 entries wait in shards 3" in said
    assert "`reftide shards --to 4` takes the change back" in said
    assert ("4", "2") == (shown["change"]["from"], shown["change"]["to"])
    assert (True, 2) == (done["is_done"], done["removed"])

    # A group that was moved to the end of a sealed stream reads what comes later.
    cli.document("shards", "--to", "4")
    redis.xadd(events_key(3), {"e": "x"})
    assert redis.xreadgroup(ARCHIVE_GROUP, "a", {events_key(3): ">"})


def test_servers_with_other_streams_are_refused(cli: Cli, redis: Redis) -> None:
    drained(redis)
    with running_valkey("everysec", port=True) as other:
        with Redis.from_url(other.url) as there:
            there.xadd(events_key(11), {"e": "x"})
        words = ("--to", "2", "--drop-entries", "--streams-url", other.url)

        said = refused(cli, *words)

    assert "shard 11 has a stream of 1 entries already" in said
    assert is_untouched(redis)


def test_servers_that_are_away_are_named(cli: Cli, redis: Redis) -> None:
    drained(redis)
    url = "redis://127.0.0.1:1"

    said = refused(cli, "--to", "2", "--drop-entries", "--streams-url", url, code=3)

    assert "127.0.0.1:1" in said
    assert is_untouched(redis)


def test_where_nothing_ever_started_there_are_no_shards(cli: Cli) -> None:
    assert "There are no shards yet" in refused(cli, "--to", "2", code=2)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--streams-url", "redis://a"), "--streams-url needs --to"),
        (("--to", "0"), "0 is not in the range"),
        (("--to", "1", "--streams-url", "redis://a,redis://b"), "fewer than"),
        (("--to", "1", "--streams-url", "http://a"), "STREAMS_URL"),
    ],
)
def test_what_cannot_be_is_said(
    cli: Cli, redis: Redis, words: tuple[str, ...], said: str
) -> None:
    assert said in refused(cli, *words, code=2)
    assert is_untouched(redis)


def test_streams_that_are_elsewhere_need_their_variable(cli: Cli, redis: Redis) -> None:
    redis.set(SHARDS_KEY, "11,43 on 2 servers")

    said = refused(cli, "--to", "4", code=2)

    assert "The streams are on 2 servers, and STREAMS_URL says otherwise" in said


def test_what_no_process_wrote_is_named(cli: Cli, redis: Redis) -> None:
    redis.set(SHARDS_KEY, "many")

    assert "no process of ours wrote it" in refused(cli)
