from dataclasses import replace
from math import inf

import pytest

from scripts.bench.capacity import Assumptions, Costs, need, simulate

COSTS = Costs(
    stream_bytes=400,
    postgres_bytes=500,
    wal_bytes=1000,
    edge=60e-6,
    worker=40e-6,
    valkey=10e-6,
    postgres=30e-6,
)
ASSUMED = Assumptions(busy=0.5, efficiency=0.8, database_cores=10, wal_mb=100)


def test_costs_are_read_from_what_was_measured() -> None:
    document = {
        "bytes_per_event": {
            "Redis: streams": 400,
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
    }

    found = Costs.of(document)

    assert COSTS.stream_bytes == found.stream_bytes
    assert pytest.approx(COSTS.edge) == found.edge
    # Counters are updated in place and do not grow with the events.
    assert COSTS.postgres_bytes == found.postgres_bytes


def test_little_traffic_needs_one_of_everything() -> None:
    found = need(COSTS, ASSUMED, 100)

    assert (1, 1, 1, 1) == (
        found["edges"],
        found["workers"],
        found["valkeys"],
        found["databases"],
    )


def test_processes_follow_from_their_time_for_an_event() -> None:
    found = need(COSTS, ASSUMED, 100_000)

    # 6 cores of edges, half busy, of which each of many does four fifths.
    assert 15 == found["edges"]
    assert 10 == found["workers"]
    assert 2 == found["valkeys"]
    assert 6 == found["database_cores"]


def test_disk_and_memory_follow_from_bytes_and_time() -> None:
    found = need(COSTS, ASSUMED, 1000)

    assert 1.44 == found["redis_gb_per_hour_of_outage"]
    assert 43.2 == found["postgres_gb_per_day"]
    assert 1.0 == found["wal_mb_per_second"]


def test_a_database_that_writes_too_much_becomes_several() -> None:
    assert 3 == need(COSTS, ASSUMED, 300_000)["databases"]
    assert 6 == need(COSTS, replace(ASSUMED, wal_mb=50), 300_000)["databases"]


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
