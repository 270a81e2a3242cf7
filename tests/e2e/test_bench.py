"""`reftide bench` on servers of its own, as little of it as shows that it measures."""

import subprocess
import sys
from typing import Any

import orjson
import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]


def bench(*arguments: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "scripts.cli", "bench", *arguments, "--json"],
        capture_output=True,
        check=False,
        timeout=110,
    )
    assert 0 == done.returncode, done.stderr.decode()
    document: dict[str, Any] = orjson.loads(done.stdout)
    return document


def test_an_edge_is_measured_against_a_bare_handler() -> None:
    found = bench("edge", "--runs", "1", "--seconds", "1")

    assert ("edge", "requests/s", 1) == (found["name"], found["unit"], found["runs"])
    assert 0 < found["figure"] < found["conditions"]["load_ceiling"]
    assert 0 < found["ratio"]
    assert [found["ratio"], found["ratio"]] == found["spread"]


def test_a_worker_is_measured_against_copy() -> None:
    found = bench("worker", "--runs", "2", "--events", "700")

    assert ("worker", "events/s", 2) == (found["name"], found["unit"], found["runs"])
    assert 0 < found["figure"]
    assert found["spread"][0] <= found["ratio"] <= found["spread"][1]
    assert 700 == found["conditions"]["new_customers"]
