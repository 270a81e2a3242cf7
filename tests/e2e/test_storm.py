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


@pytest.mark.timeout(600)
@pytest.mark.parametrize("server", SERVERS)
def test_a_storm_loses_nothing_and_counts_nothing_twice(server: str) -> None:
    chosen = SERVERS[server]
    found = _bench("storm", 590, events=20_000, kills=12, seed=3, rate=700, **chosen)

    assert server == found["server"].partition(" ")[0].lower()
    assert (20_000, 12, 3) == (found["events"], found["faults"], found["seed"])
    _is_unharmed(found)
    # Most of it came through, so that the figures above say something.
    assert found["accepted"] > 15_000


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("server", SERVERS)
def test_the_ledger_tells_what_a_server_loses(server: str) -> None:
    chosen = {"kills": 0, "losses": 4, "seed": 1, "rate": 300, **SERVERS[server]}
    found = _bench("storm", 290, events=3_000, **chosen)

    least, most = found["ledger_lost"]
    assert 0 < found["lost"] <= found["gone"] == least <= most
    assert (0, 0, 0) == (found["unexplained"], found["doubled"], found["ledger"])
    assert (0, True, []) == (found["astray"], found["settled"], found["mismatches"])
    assert (4, 4, {}) == (found["faults"], found["survived"], found["surprises"])


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_the_ledger_is_right_whatever_dies_beside_a_loss() -> None:
    found = _bench("storm", 390, events=6_000, kills=12, losses=4, seed=2, rate=300)

    least, most = found["ledger_lost"]
    # The next edge knows what one appended that was killed.
    assert least <= found["gone"]
    assert found["lost"] <= most
    assert (0, 0, 0) == (found["unexplained"], found["doubled"], found["ledger"])


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("starved", [{"busy": 4}, {"delay": 3}], ids=["cores", "Redis"])
def test_who_is_starved_answers_late_and_refuses_nothing(
    starved: Mapping[str, object],
) -> None:
    found = _bench("storm", 290, events=6_000, kills=0, seed=1, rate=200, **starved)

    _is_unharmed(found)
    assert "503" not in found["answers"]
    assert found["p99_answer"] < 4
    assert found["accepted_part"] > 0.95


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_starved_storm_accepts_most_and_survives_everything() -> None:
    found = _bench("storm", 290, events=20_000, kills=12, seed=1, rate=700, busy=3)

    _is_unharmed(found)
    assert found["accepted_part"] >= 0.75


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", [1, 2])
def test_a_great_storm_loses_nothing_and_counts_nothing_twice(seed: int) -> None:
    found = _bench("storm", 1790, events=300_000, kills=60, seed=seed, rate=1000)

    assert (300_000, 60) == (found["events"], found["faults"])
    _is_unharmed(found)
