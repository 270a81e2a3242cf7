"""`reftide bench` on servers of its own, as little of it as shows that it measures."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import orjson
import pytest

from tests.e2e.conftest import ROOT, eventually

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
def test_an_edge_is_measured_against_a_bare_handler() -> None:
    found = bench("edge", "--pairs", "1", "--seconds", "0.5", "--fsync", "always")

    is_measured(found, "edge", "requests/s")
    assert found["figure"] < found["conditions"]["load_ceiling"]
    assert "always" == found["conditions"]["appendfsync"]


@pytest.mark.slow
def test_a_worker_is_measured_against_copy() -> None:
    found = bench("worker", "--runs", "2", "--events", "700")

    is_measured(found, "worker", "events/s", runs=2)
    assert 700 == found["conditions"]["new_customers"]
    assert "curve" not in found


@pytest.mark.slow
def test_a_curve_is_measured_and_drawn_where_one_is_asked_for(tmp_path: Path) -> None:
    picture = tmp_path / "worker.svg"

    found = bench("worker", "--quick", "--events", "500", "--svg", str(picture))

    sizes = [point["batch_size"] for point in found["curve"]]
    assert sorted(sizes) == sizes
    assert 5000 == sizes[-1]
    assert "svg" in ET.parse(picture).getroot().tag  # noqa: S314 -- our own


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "counted"), [("edge", "processes"), ("hot-link", "workers")]
)
def test_how_it_scales_is_drawn_where_it_is_asked_for(
    tmp_path: Path, name: str, counted: str
) -> None:
    picture = tmp_path / "scaling.svg"

    found = bench(name, "--quick", "--svg", str(picture))

    assert 1 == found["curve"][0][counted]
    assert os.cpu_count() == found["curve"][-1][counted]
    assert "svg" in ET.parse(picture).getroot().tag  # noqa: S314 -- our own


@pytest.mark.slow
@pytest.mark.parametrize("rival", ["fastapi", "arq"])
def test_the_pipeline_is_measured_against_who_does_the_same(rival: str) -> None:
    found = bench("pipeline", "--quick", "--against", rival)

    is_measured(found, "pipeline", "events/s")
    assert 1 == found["conditions"]["events_per_request"]


@pytest.mark.slow
def test_the_pipeline_is_measured_with_many_events_in_a_request() -> None:
    found = bench("pipeline", "--quick", "--batch", "50")

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
    assert 0 < found["bytes_per_event"]["Postgres: events"]
    few, many = counted["needs"]
    assert 1 == few["edges"] < many["edges"]


@pytest.mark.slow
def test_growth_is_measured_beside_what_was_preloaded(tmp_path: Path) -> None:
    picture = tmp_path / "growth.svg"

    found = bench("growth", "--quick", "--svg", str(picture))

    is_measured(found, "growth", "events/s")
    assert [5000, 10_000] == [point["recorded"] for point in found["curve"]]
    assert picture.exists()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_measurement_that_is_interrupted_leaves_nothing(
    tmp_path: Path, number: signal.Signals
) -> None:
    with subprocess.Popen(
        [*BENCH, "growth", "--rows", "100000,200000"],
        env={"PATH": os.defpath, "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)},
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
def test_a_profile_says_where_an_edge_spends_its_time(tmp_path: Path) -> None:
    picture = tmp_path / "edge.svg"
    asked = ["profile", "edge", "--seconds", "2", "--svg", str(picture), "--json"]

    done = subprocess.run(
        [*BENCH, *asked], capture_output=True, check=False, timeout=390
    )

    if b"permission denied" in done.stderr.lower():
        assert 3 == done.returncode
        pytest.skip("this machine lets nobody look into a process")
    assert 0 == done.returncode, done.stderr.decode()
    found = orjson.loads(done.stdout)
    assert "event loop" in {each["function"] for each in found["functions"]}
    assert "Acceptor.accept" in picture.read_text()
