from dataclasses import replace
from math import inf

import pytest

from scripts.bench.capacity import Assumptions, Costs, need, simulate

COSTS = Costs(
    redis_bytes=400,
    postgres_bytes=500,
    wal_bytes=1000,
    edge=60e-6,
    worker=40e-6,
    valkey=10e-6,
    postgres=30e-6,
    edge_mb=50,
    worker_mb=100,
)
ASSUMED = Assumptions(
    busy=0.5, efficiency=0.8, database_cores=10, wal_mb=100, leads=0, redis_gb=9
)


def test_costs_are_read_from_what_was_measured() -> None:
    document = {
        "bytes_per_event": {
            "Redis: streams": 390,
            "Redis: all keys": 400,
            "Postgres: all of it": 600,
            "Postgres: events": 350,
            "Postgres: customers_pkey": 150,
            "Postgres: links": 100,
            "Postgres: written ahead (WAL)": 1000,
        },
        "cpu_seconds_per_million_events": {
            "edge": 60,
            "worker": 40,
            "Valkey": 10,
            "PostgreSQL": 30,
        },
        "memory_mb": [
            {"process": "edge", "at_rest": 40, "at_saturation": 50},
            {"process": "worker", "at_rest": 80, "at_saturation": 100},
        ],
    }

    found = Costs.of(document)

    assert COSTS.redis_bytes == found.redis_bytes
    assert (COSTS.edge_mb, COSTS.worker_mb) == (found.edge_mb, found.worker_mb)
    assert pytest.approx(COSTS.edge) == found.edge
    # Counters are updated in place and do not grow with the events.
    assert COSTS.postgres_bytes == found.postgres_bytes


def test_little_traffic_needs_one_of_everything() -> None:
    found = need(COSTS, ASSUMED, 100)

    counted = ("edges", "workers", "database_cores", "shards", "postgres_connections")
    assert (1, 1, 1, 4, 11) == tuple(found[name] for name in counted)
    assert found["too_much"] is None


def test_processes_follow_from_their_time_for_an_event() -> None:
    found = need(COSTS, ASSUMED, 100_000)

    # 6 cores of edges, half busy, of which each of many does four fifths.
    assert 15 == found["edges"]
    assert 10 == found["workers"]
    assert 6 == found["database_cores"]
    # A worker more than there are shards would have nothing to do.
    assert 10 == found["shards"]
    assert 10 * 17 == found["postgres_connections"]
    assert 1.75 == found["process_gb"]


def test_disk_and_memory_follow_from_bytes_and_time() -> None:
    found = need(COSTS, ASSUMED, 1000)

    assert 1.44 == found["redis_gb_per_hour_of_outage"]
    # Four fifths of 9 GB.
    assert 5.0 == found["hours_without_postgres"]
    assert 43.2 == found["postgres_gb_per_day"]
    assert 1.0 == found["wal_mb_per_second"]
    assert 1.4 == found["replication_mb_per_second"]


def test_leads_cost_more_than_clicks() -> None:
    some = replace(ASSUMED, leads=0.5, lead_cost=3, lead_bytes=600, customer_bytes=100)

    found = need(COSTS, some, 1000)

    # Half of the events cost three times as much to record, and leave keys behind.
    assert 86.4 == found["postgres_gb_per_day"]
    assert 2.0 == found["wal_mb_per_second"]
    assert 2.52 == found["redis_gb_per_hour_of_outage"]
    assert 4.32 == found["redis_gb_per_day_of_customers"]


def test_what_one_server_cannot_do_is_said() -> None:
    found = need(COSTS, ASSUMED, 200_000)

    assert "Valkey 400%, PostgreSQL 120%, WAL 200%" == found["too_much"]
    assert (None, None) == (found["lag_p99_seconds"], found["catch_up_minutes"])


def test_nodes_share_the_streams() -> None:
    several = replace(ASSUMED, nodes=4, replicas=1, leads=0.5)

    one, four = (
        need(COSTS, each, 160_000) for each in (replace(several, nodes=1), several)
    )

    assert ("Valkey 320%", "WAL 280%") == (
        one["too_much"].partition(",")[0],
        four["too_much"].rpartition(", ")[2],
    )
    assert "Valkey" not in four["too_much"]
    assert (1.6, 0.4) == (one["valkey_cores"], four["valkey_cores"])
    # Four nodes, the Redis of all else and PostgreSQL, each with a replica.
    assert (4, 12) == (one["servers"], four["servers"])
    assert four["hours_without_postgres"] == pytest.approx(
        4 * one["hours_without_postgres"], abs=0.2
    )
    assert 12 == need(COSTS, several, 100)["shards"]


def test_a_disk_that_is_nearly_too_slow_takes_long_to_catch_up() -> None:
    slow = need(COSTS, replace(ASSUMED, wal_mb=30), 20_000)
    quick = need(COSTS, ASSUMED, 20_000)

    assert (None, None) == (slow["too_much"], quick["too_much"])
    # 600 s of 22,000 a second, at 8,000 to spare; else the workers' cores are the limit.
    assert 27.5 == slow["catch_up_minutes"]
    assert quick["catch_up_minutes"] < 20


def test_bursts_that_fit_wait_for_the_next_read_and_its_round_trips_only() -> None:
    lag, _ = simulate(1000, 2500)

    assert 0.07 == pytest.approx(lag, abs=0.02)


def test_bursts_that_do_not_fit_wait_for_one_another() -> None:
    lag, _ = simulate(1000, 1300)

    assert 0.3 < lag < 1.0


def test_a_backlog_is_gone_the_sooner_the_more_there_is_to_spare() -> None:
    _, tight = simulate(1000, 1300)
    _, wide = simulate(1000, 5000)

    assert wide < tight
    # Ten minutes of 1,100 a second, at 3,900 to spare.
    assert 2.8 == wide


def test_what_is_never_caught_up_is_said_to_be_so() -> None:
    assert inf == simulate(1000, 900)[1]
