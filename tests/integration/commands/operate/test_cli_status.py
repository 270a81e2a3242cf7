"""`reftide status`, on hand-made books."""

import orjson
import pytest
from uuid_utils.compat import uuid7

from ingest.contracts.stream import (
    EDGES_KEY,
    FIELD,
    WORKERS_KEY,
    edge_key,
    events_key,
    heartbeat_key,
    shard_of,
)
from scripts.bench.environment.processes import free_port
from scripts.services.observe import streams
from tests.support.servers.cli import Cli
from tests.support.workers.by_hand import Hands


def _ledger(cli: Cli) -> dict[str, int]:
    status = cli.status()
    names = (
        "accepted",
        "recorded",
        "repeats",
        "quarantined",
        "lost",
        "in_flight",
        "balance",
    )
    return {name: status[name] for name in names if status[name]}


def test_an_event_goes_through_the_books_and_the_balance_stays_zero(
    hands: Hands,
) -> None:
    assert {} == _ledger(hands.cli)

    event_id = hands.send()
    assert {"accepted": 1, "in_flight": 1} == _ledger(hands.cli)

    (entry,) = hands.deliver()
    assert {"accepted": 1, "in_flight": 1} == _ledger(hands.cli)

    hands.record(event_id, entry)
    hands.acknowledge(entry)
    assert {"accepted": 1, "recorded": 1} == _ledger(hands.cli)


def test_lost_events_are_listed_with_the_replay_that_brings_them_back(
    hands: Hands,
) -> None:
    hands.cli.fetch(
        "insert into ledger (epoch, shard, consumer, lost) values (1, 0, '', 3)"
    )
    hands.cli.fetch(
        "update stream_epochs set vanished = 3, lost_since = '2026-03-01 10:00Z'"
        " where epoch = 1"
    )
    hands.cli.fetch(
        "insert into edge_appends (epoch, edge, appended, vanished, unsure, run)"
        " values (1, 'one', 9, 3, 2, 'a')"
    )

    shown = hands.cli.run("status", "--window", "0").out
    status = hands.cli.status()
    verified = hands.cli.run("verify", "--wait", "0")

    assert (3, 5) == (status["lost"], status["lost_at_most"])
    assert "3 to 5" in shown
    assert "reftide replay --from 2026-03-01T10:00:00Z" in " ".join(shown.split())
    assert (1, True) == (verified.code, "lost" in verified.out)


def test_what_an_edge_appended_that_died_beside_its_redis_is_unknown(
    hands: Hands,
) -> None:
    hands.cli.fetch(
        "update stream_epochs set run = 'b', run_since = now() where epoch = 1"
    )
    hands.cli.fetch(
        "insert into edge_appends (epoch, edge, appended, run) values (1, 'one', 9, 'a')"
    )

    shown = hands.cli.run("status", "--window", "0").out
    status = hands.cli.status()

    assert (0, None) == (status["lost"], status["lost_at_most"])
    assert "0 or more" in shown
    assert "an edge died in the seconds before" in " ".join(shown.split())


def test_an_entry_trimmed_unread_shows_as_an_imbalance(hands: Hands) -> None:
    event_id = hands.send()
    hands.redis.xtrim(events_key(shard_of(event_id, 4)), maxlen=0, approximate=False)

    assert {"accepted": 1, "balance": 1} == _ledger(hands.cli)

    hands.cli.fetch(
        "insert into ledger (epoch, shard, consumer, lost) values (1, 0, '', 1)"
    )

    assert {"accepted": 1, "lost": 1} == _ledger(hands.cli)


def test_what_was_recorded_stays_counted_when_the_stream_is_trimmed(
    hands: Hands,
) -> None:
    hands.settle(event_id := uuid7())
    hands.redis.xtrim(events_key(shard_of(event_id, 4)), maxlen=0, approximate=False)

    assert {"accepted": 1, "recorded": 1} == _ledger(hands.cli)


def test_a_former_life_of_a_stream_stays_in_the_books(hands: Hands) -> None:
    hands.cli.fetch("insert into stream_epochs (shard, entries_added) values (0, 5)")

    assert {"accepted": 5, "balance": 5} == _ledger(hands.cli)


def test_the_lag_is_the_age_of_the_oldest_entry_that_is_not_acknowledged(
    hands: Hands,
) -> None:
    seconds, _ = hands.redis.time()
    old = f"{(seconds - 90) * 1000}-0"
    hands.redis.xadd(events_key(2), {FIELD: b"{}"}, id=old)
    hands.redis.xadd(events_key(2), {FIELD: b"{}"}, id=f"{(seconds - 30) * 1000}-0")

    for delivered in (False, True):
        status = hands.cli.status()
        assert 90 <= status["lag_seconds"] < 150
        assert delivered == (status["shards"][2]["oldest_pending_seconds"] >= 90)
        assert 2 == status["lag_entries"] == status["shards"][2]["in_flight"]
        hands.deliver()

    hands.acknowledge((2, old.encode()))
    status = hands.cli.status()
    assert 30 <= status["lag_seconds"] < 90


def test_only_workers_with_a_heartbeat_are_alive(hands: Hands) -> None:
    hands.redis.sadd(WORKERS_KEY, "alive", "dead")
    hands.redis.set(heartbeat_key("alive"), b"1")

    status = hands.cli.status()

    assert (1, ["alive"]) == (status["workers"], status["worker_names"])


def test_throughput_and_memory_are_told_where_they_can_be(hands: Hands) -> None:
    hands.send()

    measured = hands.cli.status("0.05")
    not_measured = hands.cli.status()

    assert 0.0 == measured["accepted_per_second"] == measured["recorded_per_second"]
    assert not_measured["recorded_per_second"] is None
    assert measured["bytes_per_event"] > 0
    assert measured["redis_memory_bytes"] > 0
    assert measured["hours_left"] is None  # nothing comes in


def test_people_read_no_flags_and_no_raw_bytes(hands: Hands) -> None:
    hands.send()
    hands.redis.sadd(WORKERS_KEY, "alive")
    hands.redis.set(heartbeat_key("alive"), b"1")

    shown = hands.cli.run("status", "--window", "0").out

    assert "is still" not in shown
    assert "is exact" not in shown
    (memory,) = (line for line in shown.splitlines() if "redis memory" in line)
    assert "iB" in memory
    assert "1 (alive)" in shown


def test_a_large_backlog_is_taken_from_counters(
    hands: Hands, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        hands.redis.xadd(events_key(1), {FIELD: b"{}"})
    hands.deliver()
    for _ in range(5):
        hands.redis.xadd(events_key(1), {FIELD: b"{}"})
    monkeypatch.setattr(streams, "COUNTED", 4)

    status = hands.cli.status()

    assert (8, False) == (status["in_flight"], status["is_exact"])
    assert "backlog is large" in hands.cli.run("status", "--window", "0").out


def test_a_server_that_never_ran_has_empty_books(shop: Cli) -> None:
    assert {} == _ledger(shop)
    shown = shop.run("status", "--window", "0").out
    assert "No worker is alive" in shown


def test_an_edge_without_a_known_admin_port_is_unknown_while_redis_is_away(
    hands: Hands,
) -> None:
    hands.cli.fetch(
        "insert into edge_appends (epoch, edge, appended) values (1, 'e 17', 9)"
    )
    gone = Cli({**hands.cli.variables, "REDIS_URL": "redis://127.0.0.1:1/0"})

    done = gone.run("status", "--json")

    assert 3 == done.code
    [edge] = done.document["edges"]
    assert ("e", "unknown") == (edge["edge"], edge["level"])
    assert "REFTIDE_ADMIN_URLS" in edge["why"]


def test_since_when_an_edge_spools_is_known_without_its_admin_port(
    hands: Hands,
) -> None:
    told = {"level": "spool", "why": "unread", "level_since": 1_790_000_000_000}
    hands.redis.zadd(EDGES_KEY, {"e": 1})
    hands.redis.set(edge_key("e"), orjson.dumps({**told, "spool_bytes": 9}))

    done = hands.cli.run("status", "--window", "0")

    assert 1 == done.code
    assert "1. 2026-09-21 14:13:20 UTC" in done.out
    assert "Edge e writes to its disk: unread" in done.out


def test_a_process_that_was_named_and_is_silent_is_a_finding(shop: Cli) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    named = Cli({**shop.variables, "REFTIDE_ADMIN_URLS": f"{url}/, {url}"})

    done = named.run("status", "--window", "0", "--json")

    [silent] = done.document["silent"]
    assert (1, url) == (done.code, silent["url"])
    assert any(url in one["remedy"] for one in done.document["findings"])
