"""`reftide bench replay`, as little of it as shows that it measures."""

import time

import orjson
import pytest
from click.testing import CliRunner

from scripts.bench.replay import replay
from scripts.environment import Environment
from tests.support.environment import inherited

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(200)]


def test_history_is_recorded_and_replayed_beside_live_clicks() -> None:
    few = ("--events", "1500", "--workers", "1", "--live", "50", "--seconds", "2")
    environment = Environment({**inherited()}, time.monotonic)

    done = CliRunner().invoke(replay, [*few, "--json"], obj=environment)

    assert 0 == done.exit_code, done.output
    found = orjson.loads(done.stdout)
    assert ("replay", "ms", 1) == (found["name"], found["unit"], found["runs"])
    assert 0 < found["recovered"]["per_second"]
    assert found["live_beside"]["events"] > 0
    again = found["again"]
    assert 0 < again["live_per_second"]
    assert 0 < again["to_live"]
