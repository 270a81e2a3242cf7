"""Alert rules and the board with Prometheus itself: `-m prometheus`."""

import re
import subprocess
from pathlib import Path
from shutil import which
from typing import Self
from urllib.parse import urlencode
from urllib.request import urlopen

import orjson
import pytest

from scripts.bench.environment.processes import free_port
from scripts.monitoring.alerts import ALERTS
from tests.e2e.conftest import Begin, eventually
from tests.support.servers.cli import Cli

pytestmark = [pytest.mark.e2e, pytest.mark.prometheus]


def program(name: str) -> str:
    found = which(name)
    assert found, f"install {name}"
    return found


def write(path: Path, *arguments: str) -> None:
    path.write_text(Cli().run("monitoring", *arguments).out, "utf-8")


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
    up.wait_for("figures: ")
    (line,) = (line for line in up.lines if line.startswith("figures: "))
    targets = re.findall(r"http://([\d.:]+)/metrics", line)
    with Prometheus(tmp_path, targets) as prometheus:
        assert 0 == Cli({"REFTIDE_DATA": str(up.data)}).run("demo").code
        eventually(lambda: prometheus.has_scraped(6))

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


class Prometheus:
    """A server that scrapes these addresses every second, with our rules."""

    def __init__(self, folder: Path, targets: list[str]) -> None:
        self._folder = folder
        self._url = f"127.0.0.1:{free_port()}"
        write(folder / "rules.yml", "alerts")
        config = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": ["rules.yml"],
            "scrape_configs": [
                {"job_name": "reftide", "static_configs": [{"targets": targets}]}
            ],
        }
        (folder / "prometheus.yml").write_bytes(orjson.dumps(config))

    def __enter__(self) -> Self:
        with (self._folder / "prometheus.log").open("wb") as log:
            self._process = subprocess.Popen(
                [
                    program("prometheus"),
                    "--config.file=prometheus.yml",
                    "--storage.tsdb.path=metrics",
                    f"--web.listen-address={self._url}",
                ],
                cwd=self._folder,
                stderr=log,
            )
        eventually(self._answers)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(10)

    def _answers(self) -> bool:
        try:
            return bool(self.ask("targets"))
        except OSError:
            return False

    def ask(self, what: str, **parameters: str) -> dict[str, list[dict[str, object]]]:
        """What its API says."""
        url = f"http://{self._url}/api/v1/{what}?{urlencode(parameters)}"
        with urlopen(url, timeout=10) as answer:
            found: dict[str, list[dict[str, object]]] = orjson.loads(answer.read())[
                "data"
            ]
        return found

    def has_scraped(self, times: int) -> bool:
        """Whether workers were scraped so often after they had read the figures."""
        query = f"min(count_over_time((reftide_sampled_timestamp_seconds > 0)[1m:1s])) >= {times}"
        return bool(self.ask("query", query=query)["result"])
