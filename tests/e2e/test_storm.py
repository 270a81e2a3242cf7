"""Everything is broken under traffic, and nothing is lost or counted twice.

The storm rages on the Valkey that comes along, and on a Redis where the machine has one: on
PATH, as `redis-server`.
"""

import shutil
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import orjson
import pytest

pytestmark = pytest.mark.e2e

_REDIS = shutil.which("redis-server")
#: Which servers are here, by their names, and the options that choose them.
SERVERS: Mapping[str, Mapping[str, object]] = {
    "valkey": {},
    **({"redis": {"server": _REDIS}} if _REDIS else {}),
}


def _bench(name: str, seconds: float, **options: object) -> Mapping[str, Any]:
    asked = [text for name, value in options.items() for text in (f"--{name}", value)]
    command = ["-m", "scripts.cli", "bench", name, *map(str, asked), "--json"]
    done = subprocess.run(
        [sys.executable, *command],
        capture_output=True,
        check=False,
        timeout=seconds,
    )
    told = done.stdout.decode() + done.stderr.decode()
    assert 0 == done.returncode, f"{options}: {told}"
    document: Mapping[str, Any] = orjson.loads(done.stdout)
    return document


def _is_unharmed(found: Mapping[str, Any]) -> None:
    assert (0, 0, 0) == (found["lost"], found["doubled"], found["ledger"])
    assert (0, True, []) == (found["astray"], found["settled"], found["mismatches"])
    assert {} == found["surprises"]
    assert found["faults"] == found["survived"]


@pytest.mark.timeout(240)
@pytest.mark.parametrize("server", SERVERS)
def test_a_storm_loses_nothing_and_counts_nothing_twice(server: str) -> None:
    chosen = SERVERS[server]
    found = _bench("storm", 230, events=20_000, kills=12, seed=3, rate=700, **chosen)

    assert server == found["server"].partition(" ")[0].lower()
    assert (20_000, 12, 3) == (found["events"], found["faults"], found["seed"])
    _is_unharmed(found)
    # Most of it came through, so that the figures above say something.
    assert found["accepted"] > 15_000


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", [1, 2])
def test_a_great_storm_loses_nothing_and_counts_nothing_twice(seed: int) -> None:
    found = _bench("storm", 1790, events=300_000, kills=60, seed=seed, rate=1000)

    assert (300_000, 60) == (found["events"], found["faults"])
    _is_unharmed(found)
