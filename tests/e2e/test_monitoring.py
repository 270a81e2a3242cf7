"""Alert rules and the board with Prometheus and Alertmanager themselves: `-m prometheus`."""

import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
from redis import Redis

from ingest.contracts.stream import FIELD, events_key
from scripts.monitoring.alerts import ALERTS
from tests.e2e.conftest import Begin, Trickle, Up, eventually
from tests.support.prometheus import Monitoring, monitoring, program, write
from tests.support.servers.cli import Cli

pytestmark = [pytest.mark.e2e, pytest.mark.prometheus]


def test_promtool_finds_the_rules_right_and_each_alert_fires_and_does_not(
    tmp_path: Path,
) -> None:
    write(tmp_path / "rules.yml", "alerts")
    write(tmp_path / "tests.yml", "tests", "rules.yml")

    for command in (("check", "rules", "rules.yml"), ("test", "rules", "tests.yml")):
        done = subprocess.run(
            [program("promtool"), *command],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert 0 == done.returncode, done.stdout + done.stderr


def test_every_panel_has_figures_of_a_running_installation_and_no_alert_fires(
    begin: Begin, tmp_path: Path
) -> None:
    up = begin(tmp_path / "data")
    with watched(up, tmp_path) as prometheus:
        assert 0 == Cli({"REFTIDE_DATA": str(up.data)}).run("demo").code
        panels = [
            target["expr"]
            for panel in Cli().run("monitoring", "board").document["panels"]
            for target in panel.get("targets", ())
        ]
        filled = {"$job": ".*", "$instance": ".*", "$__rate_interval": "30s"}
        for expr in panels:
            for variable, value in filled.items():
                expr = expr.replace(variable, value)  # noqa: PLW2901 -- filled in step by step
            found = prometheus.ask("query", query=expr)["result"]
            assert found or may_be_empty(expr), expr
        rules = prometheus.ask("rules")["groups"][0]["rules"]
        assert {alert.name for alert in ALERTS} == {rule["name"] for rule in rules}
        assert ["inactive"] * len(ALERTS) == [rule["state"] for rule in rules]
        assert {"ok"} == {rule["health"] for rule in rules}


@contextmanager
def watched(up: Up, folder: Path) -> Iterator[Monitoring]:
    """Prometheus and Alertmanager, which have seen the installation at rest."""
    up.wait_for("figures: ")
    (line,) = (line for line in up.lines if line.startswith("figures: "))
    with monitoring(folder, re.findall(r"http://([\d.:]+)/metrics", line)) as found:
        eventually(found.answers)
        eventually(lambda: found.has_scraped(6))
        yield found


@contextmanager
def frozen(up: Up, kind: str) -> Iterator[None]:
    """Processes of that kind stand still, and those that they have started."""
    pids = [pid for parent in up.children()[kind] for pid in family(parent)]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def family(pid: int) -> list[int]:
    listed = Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii").split()
    return [pid, *map(int, listed)]


@contextmanager
def poisoned(up: Up) -> Iterator[None]:
    """Three entries that no release can read."""
    with Redis.from_url(up.cli.variables["REDIS_URL"]) as redis:
        for _ in range(3):
            redis.xadd(events_key(0), {FIELD: b"junk"})
    yield


@contextmanager
def trimmed(up: Up) -> Iterator[None]:
    """Accepted clicks are deleted from the streams before a worker has read them."""
    with frozen(up, "worker"), Redis.from_url(up.cli.variables["REDIS_URL"]) as redis:
        for _ in range(8):
            assert 200 == up.click()[0]
        for shard in range(4):
            redis.xtrim(events_key(shard), maxlen=0)
    yield


FAULTS: Mapping[str, Callable[[Up], AbstractContextManager[None]]] = {
    "ReftideRedisAway": lambda up: frozen(up, "valkey"),
    "ReftidePostgresAway": lambda up: frozen(up, "postgres"),
    "ReftideWorkersGone": lambda up: frozen(up, "worker"),
    "ReftideQuarantineNeedsYou": poisoned,
    "ReftideEventsLost": trimmed,
}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("alert", FAULTS)
def test_a_fault_sends_its_alert_and_no_other_within_90_seconds(
    begin: Begin, tmp_path: Path, alert: str
) -> None:
    up = begin(tmp_path / "data")
    with watched(up, tmp_path) as found, FAULTS[alert](up), Trickle(up, "drill"):
        eventually(found.sent, within=90)

        assert {alert} == found.sent()


def may_be_empty(expr: str) -> bool:
    """Counters with labels that are only there once something of theirs happened."""
    return any(f"reftide_{name}" in expr for name in _RARE)


_RARE = (
    "edge_loop_held", "edge_overloaded", "edge_lost", "edge_unmarked", "edge_refused",
    "worker_dropped", "worker_unpublished", "worker_lost", "worker_delays",
    "worker_delayed", "worker_quarantined", "worker_enrichers_failed", "worker_archived",
    "worker_groups_made",
)  # fmt: skip
