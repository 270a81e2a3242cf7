"""Alert rules and the board with Prometheus and Alertmanager themselves: `-m prometheus`."""

import subprocess
from pathlib import Path

import pytest

from scripts.monitoring.alerts import ALERTS
from tests.e2e.conftest import Begin
from tests.support.prometheus import monitoring, program, write
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
    with monitoring(tmp_path, up.figures) as prometheus:
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


def may_be_empty(expr: str) -> bool:
    """Counters with labels that are only there once something of theirs happened."""
    return any(f"reftide_{name}" in expr for name in _RARE)


_RARE = (
    "edge_loop_held", "edge_overloaded", "edge_lost", "edge_unmarked", "edge_refused",
    "worker_dropped", "worker_unpublished", "worker_lost", "worker_delays",
    "worker_delayed", "worker_quarantined", "worker_enrichers_failed", "worker_archived",
    "worker_groups_made",
)  # fmt: skip
