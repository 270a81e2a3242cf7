"""Alert rules and the board with Prometheus and Alertmanager themselves: `-m prometheus`."""

import subprocess
from pathlib import Path

import pytest

from scripts.monitoring.alerts import ALERTS
from tests.e2e.conftest import CLICK, Begin, eventually
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
    up = begin(tmp_path / "data", REFTIDE_ARCHIVE_SECONDS="1")
    with monitoring(tmp_path, up.figures) as prometheus:
        url = "https://yoursite.com/pricing?aff=NOBODY"
        assert 400 == up.click({**CLICK, "affiliate_url": url})[0]
        assert 0 == Cli({"REFTIDE_DATA": str(up.data)}).run("demo").code
        panels = [
            target["expr"]
            for panel in Cli().run("monitoring", "board").document["panels"]
            for target in panel.get("targets", ())
        ]
        for panel in panels:
            expr = filled_in(panel)
            eventually(
                lambda expr=expr: (
                    prometheus.ask("query", query=expr)["result"] or may_be_empty(expr)
                )
            )
        rules = prometheus.ask("rules")["groups"][0]["rules"]
        assert {alert.name for alert in ALERTS} == {rule["name"] for rule in rules}
        assert ["inactive"] * len(ALERTS) == [rule["state"] for rule in rules]
        assert {"ok"} == {rule["health"] for rule in rules}


def filled_in(expr: str) -> str:
    for variable, value in _VARIABLES.items():
        expr = expr.replace(variable, value)
    return expr


def may_be_empty(expr: str) -> bool:
    """Counters with labels that are only there once something of theirs happened."""
    return any(f"reftide_{name}" in expr for name in _RARE)


_VARIABLES = {"$job": ".*", "$instance": ".*", "$__rate_interval": "30s"}
_RARE = (
    "edge_loop_held", "edge_overloaded", "edge_lost", "edge_unmarked", "worker_dropped",
    "worker_unpublished", "worker_lost", "worker_quarantined", "worker_enrichers_failed",
)  # fmt: skip
