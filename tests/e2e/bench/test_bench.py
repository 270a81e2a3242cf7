"""`reftide bench` on servers of its own, as little of it as shows that it measures."""

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.e2e.conftest import ROOT, eventually
from tests.support.environment import inherited
from tests.support.pooler.pgbouncer import needs_pgbouncer

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]

BENCH = [sys.executable, "-m", "scripts.cli", "bench"]


def bench(*arguments: str) -> dict[str, Any]:
    done = subprocess.run(
        [*BENCH, *arguments, "--json"], capture_output=True, check=False, timeout=390
    )
    assert 0 == done.returncode, done.stderr.decode()
    document: dict[str, Any] = orjson.loads(done.stdout)
    return document


def is_measured(found: dict[str, Any], name: str, unit: str, runs: int = 1) -> None:
    assert (name, unit, runs) == (found["name"], found["unit"], found["runs"])
    assert 0 < found["figure"]
    assert 0 < found["baseline"]
    assert found["spread"][0] <= found["ratio"] <= found["spread"][1]


@pytest.mark.slow
def test_an_edge_is_measured_against_a_bare_handler_and_a_bare_append() -> None:
    asked = ("--pairs", "1", "--seconds", "1", "--connections", "64,512")

    found = bench("edge", *asked, "--fsync", "always")

    is_measured(found, "edge", "requests/s")
    few, many = found["by_connections"]
    assert [64, 512] == [few["connections"], many["connections"]]
    assert found["ratio"] == min(few["ratio"], many["ratio"])
    assert 0 < found["append"]["ratio"]
    assert "always" == found["conditions"]["appendfsync"]
    assert 0 < found["conditions"]["fsync_ms"]


@pytest.mark.slow
def test_an_edge_that_waits_for_a_replica_is_measured_against_one_that_does_not() -> (
    None
):
    asked = ("--pairs", "1", "--seconds", "1", "--connections", "64")

    found = bench("edge", "--replica", *asked)

    is_measured(found, "edge", "requests/s")
    assert [64] == [each["connections"] for each in found["by_connections"]]


@pytest.mark.slow
def test_an_edge_that_traces_is_measured_against_one_that_does_not() -> None:
    asked = ("--pairs", "1", "--seconds", "1", "--connections", "64")

    found = bench("edge", "--traces", *asked)

    is_measured(found, "edge", "requests/s")
    [row] = found["by_connections"]
    assert 64 == row["connections"]
    figure, baseline = row["processor_figure"], row["processor_baseline"]
    assert row["processor_ratio"] == pytest.approx(figure / baseline, abs=0.01)


@pytest.mark.slow
def test_a_worker_is_measured_against_copy() -> None:
    found = bench("worker", "--runs", "2", "--events", "700")

    is_measured(found, "worker", "events/s", runs=2)
    assert 700 == found["conditions"]["new_customers"]


@pytest.mark.pooler
@needs_pgbouncer
def test_a_worker_behind_a_pooler_is_measured_against_one_without() -> None:
    found = bench("worker", "--pooler", "--runs", "1", "--events", "700")

    is_measured(found, "worker", "events/CPU s")
    assert 0 < found["by_the_clock"]["figure"]


@pytest.mark.slow
@pytest.mark.parametrize("what", ["sign-ups", "sales"])
@pytest.mark.parametrize("statistics", ["none", "stale", "fresh"])
def test_leads_are_measured_against_clicks(what: str, statistics: str) -> None:
    asked = ("--what", what, "--statistics", statistics)

    found = bench("leads", "--runs", "1", "--events", "700", *asked)

    is_measured(found, "leads", "events/s")
    assert (what, statistics) == (
        found["conditions"]["what"],
        found["conditions"]["statistics"],
    )


@pytest.mark.slow
@pytest.mark.parametrize("rival", ["fastapi", "arq"])
def test_the_pipeline_is_measured_against_who_does_the_same(rival: str) -> None:
    found = bench("pipeline", "--quick", "--connections", "32", "--against", rival)

    is_measured(found, "pipeline", "events/s")
    assert 1 == found["conditions"]["events_per_request"]


@pytest.mark.slow
def test_the_pipeline_is_measured_with_many_events_in_a_request() -> None:
    found = bench("pipeline", "--quick", "--connections", "32", "--batch", "50")

    is_measured(found, "pipeline", "events/s")
    assert 50 == found["conditions"]["events_per_request"]


@pytest.mark.slow
def test_one_link_is_measured_against_a_thousand() -> None:
    found = bench("hot-link", "--quick", "--workers", "2")

    is_measured(found, "hot-link", "events/s")


@pytest.mark.slow
def test_the_time_until_an_event_is_recorded_is_measured() -> None:
    found = bench("latency", "--quick")

    is_measured(found, "latency", "ms")
    (run,) = found["runs_of_reftide"]
    assert 0 < run["recorded_p50"] <= run["recorded_p99"]
    assert 0 < run["answered_p50"] <= run["answered_p99"]


@pytest.mark.slow
def test_what_an_event_costs_is_measured_and_counted_up(tmp_path: Path) -> None:
    found = bench("cost", "--quick")
    file = tmp_path / "cost.json"
    file.write_bytes(orjson.dumps(found))

    counted = bench("capacity", "--json-from", str(file), "--rates", "10,1_000_000")

    is_measured(found, "cost", "bytes/event")
    spent = found["cpu_seconds_per_million_events"]
    assert {"edge", "worker", "Valkey", "PostgreSQL"} == set(spent)
    assert all(0 < seconds for seconds in spent.values())
    sizes = found["bytes_per_event"]
    assert 0 < sizes["Postgres: events"]
    assert 0 < sizes["Redis: streams"] < sizes["Redis: all keys"] == found["figure"]
    few, many = counted["needs"]
    assert 1 == few["edges"] < many["edges"]
    assert few["too_much"] is None
    assert "Valkey" in many["too_much"]


@pytest.mark.slow
def test_several_processes_are_measured_against_one() -> None:
    found = bench("scale", "--quick", "--processes", "1,2", "--connections", "64")

    is_measured(found, "scale", "events/CPU s")
    rows = found["by_processes"]
    assert [("worker", 1), ("worker", 2), ("edge", 1), ("edge", 2)] == [
        (row["of"], row["processes"]) for row in rows
    ]
    assert all(0 < row["cores"] for row in rows)


@pytest.mark.slow
def test_streams_on_a_cluster_are_measured_against_one_server() -> None:
    found = bench("scale", "--quick", "--cluster", "--connections", "64")

    is_measured(found, "scale", "CPU us/event")
    kinds = found["by_kind"]
    assert {"worker", "edge"} == set(kinds)
    assert found["ratio"] == max(each["ratio"] for each in kinds.values())


@pytest.mark.slow
def test_honest_clicks_are_measured_beside_attacks() -> None:
    found = bench("abuse", "--quick")

    is_measured(found, "abuse", "ms")
    assert {"lost": 0, "refused": 0}.items() <= found["honest"].items()
    assert 0 == found["attackers"]["5xx"] < found["attackers"]["requests"]
    assert {"200", "400", "401", "415"} <= found["answers_to_attackers"].keys()


@pytest.mark.slow
def test_batches_are_measured_beside_those_of_another_workspace() -> None:
    found = bench("abuse", "--quick", "--scenario", "fairness")

    is_measured(found, "abuse", "ms")


@pytest.mark.slow
def test_what_strangers_leave_in_redis_is_measured_until_it_has_expired() -> None:
    found = bench("abuse", "--quick", "--scenario", "fill")

    is_measured(found, "abuse", "bytes")
    assert found["figure"] <= 1.05 * found["baseline"] < found["keys"]["bytes_at_most"]
    assert 0 == found["keys"]["outlasting_the_window"]
    assert ["200"] == list(found["answers_to_another_workspace"])


@pytest.mark.slow
def test_requests_changed_at_random_find_no_5xx_and_no_hang() -> None:
    found = bench("abuse", "--quick", "--scenario", "fuzz")

    is_measured(found, "abuse", "ms")
    assert {"sent": 2000, "5xx": 0, "without_answer": 0} == found["requests"]


@pytest.mark.slow
def test_what_one_request_takes_of_an_edge_is_measured_by_route() -> None:
    found = bench("abuse", "--quick", "--scenario", "single", "--requests", "300")

    is_measured(found, "abuse", "ms")
    assert "shapes" in {route["route"] for route in found["routes"]}
    assert 0 < found["batch_between_yields"]["ms"]


@pytest.mark.slow
def test_the_checkout_is_measured_beside_a_commit() -> None:
    found = bench("compare", "HEAD", "--quick")

    is_measured(found, "compare", "µs")
    measures = {row["measure"]: row for row in found["measures"]}
    assert found["figure"] == measures["core_us"]["figure"]
    assert 1 < measures["modules"]["figure"] < measures["functions"]["figure"]
    assert all(0 < row["figure"] for row in found["measures"])
    assert "reftide-compare" not in worktrees()


def test_a_commit_that_there_is_not_is_refused() -> None:
    done = subprocess.run(
        [*BENCH, "compare", "no-such-commit"],
        capture_output=True,
        check=False,
        timeout=60,
    )

    assert 2 == done.returncode
    assert "is no commit" in done.stderr.decode()


def worktrees() -> str:
    listed = subprocess.run(
        ["git", "-C", str(ROOT), "worktree", "list"],  # noqa: S607 -- whichever git
        capture_output=True,
        check=True,
    )
    return listed.stdout.decode()


@pytest.mark.slow
def test_an_edge_is_measured_beside_one_without_routes_for_browsers() -> None:
    found = bench("routes", "--quick")

    is_measured(found, "routes", "µs of the edge for a click")
    passed = {row["a click passes"]: row for row in found["passed"]}
    for name in ("functions", "modules"):
        assert 1 < passed[name]["with"] == passed[name]["without"]


@pytest.mark.slow
def test_while_redis_is_frozen_visitors_are_led_on_and_each_is_recorded() -> None:
    found = bench("frozen", "--seconds", "10")

    is_measured(found, "frozen", "ms")
    [run] = found["runs_frozen"]
    assert 1000 < run["visitors"] == run["recorded"]
    # 600 is what a calm machine stays far below.
    assert run["p50"] < 600
    assert run["p99"] < 5 * 600


@pytest.mark.slow
def test_growth_is_measured_beside_what_was_preloaded() -> None:
    found = bench("growth", "--quick")

    is_measured(found, "growth", "events/s")
    assert [5000, 10_000] == [point["recorded"] for point in found["curve"]]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_measurement_that_is_interrupted_leaves_nothing(
    tmp_path: Path, number: signal.Signals
) -> None:
    with subprocess.Popen(
        [*BENCH, "growth", "--rows", "100000,200000"],
        env={**inherited(), "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)},
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stderr is not None
        eventually(lambda: list(tmp_path.glob("*/servers/instance.json")), 30)
        process.send_signal(number)
        process.stderr.read()
        process.wait(60)

    assert 0 != process.returncode
    assert [] == list(tmp_path.iterdir())


def test_a_disk_that_is_too_small_is_said_before_anything_starts() -> None:
    done = subprocess.run(
        [*BENCH, "growth", "--rows", "1,999_999_999"],
        capture_output=True,
        check=False,
        timeout=60,
    )

    assert 3 == done.returncode
    assert "TMPDIR" in done.stderr.decode()


@pytest.mark.parametrize("rows", ["0", "5,4", "a", "1,2000000000", ""])
def test_sizes_that_are_none_are_refused(rows: str) -> None:
    done = subprocess.run(
        [*BENCH, "growth", "--rows", rows], capture_output=True, check=False, timeout=60
    )

    assert 2 == done.returncode


@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"bytes_per_event": 3}'])
def test_capacity_says_what_it_wants_to_read(tmp_path: Path, content: str) -> None:
    file = tmp_path / "cost.json"
    file.write_text(content)

    done = subprocess.run(
        [*BENCH, "capacity", "--json-from", str(file)],
        capture_output=True,
        check=False,
        timeout=60,
    )

    assert 2 == done.returncode
    assert "reftide bench cost --json" in done.stderr.decode()


@pytest.mark.slow
def test_publishing_is_measured_beside_leads_and_at_rest() -> None:
    asked = ("--sessions", "2000", "--links", "3", "--leads", "20", "--edges", "1")

    found = bench("publish", *asked)

    is_measured(found, "publish", "ms")
    assert (3, 3) == (found["beside_leads"]["links"], found["at_rest"]["links"])
