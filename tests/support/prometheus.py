"""Prometheus and Alertmanager, with our rules, beside an installation."""

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from shutil import which
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen

import orjson

from scripts.bench.environment.processes import free_port
from tests.support.servers.cli import Cli
from tests.support.servers.commands import until


def program(name: str) -> str:
    """The path of a program; a failure if it is not installed."""
    found = which(name)
    assert found, f"install {name}"
    return found


def write(path: Path, *arguments: str) -> None:
    """Write what `reftide monitoring` prints."""
    path.write_text(Cli().run("monitoring", *arguments).out, "utf-8")


@dataclass(frozen=True, slots=True)
class Monitoring:
    """Where both answer."""

    prometheus: str
    alertmanager: str

    def ask(self, what: str, **parameters: str) -> dict[str, Any]:
        """What Prometheus' API says."""
        found = _get(f"{self.prometheus}/api/v1/{what}?{urlencode(parameters)}")
        data: dict[str, Any] = found["data"]
        return data

    def sent(self) -> set[str]:
        """The alerts that fire and that no other inhibits."""
        asked = urlencode({"inhibited": "false", "active": "true"})
        found = _get(f"{self.alertmanager}/api/v2/alerts?{asked}")
        return {alert["labels"]["alertname"] for alert in found}

    def has_scraped(self, times: int) -> bool:
        """Whether workers were scraped so often after they had read the figures."""
        sampled = "(reftide_sampled_timestamp_seconds > 0)[1m:1s]"
        query = f"min(count_over_time({sampled})) >= {times}"
        return bool(self.ask("query", query=query)["result"])

    def answers(self) -> bool:
        try:
            return bool(self.ask("targets")) and self.sent() == set()
        except OSError:
            return False


@contextmanager
def monitoring(folder: Path, targets: Sequence[str]) -> Iterator[Monitoring]:
    """Both, scraping these addresses every second; they have seen the installation at rest."""
    prometheus, alertmanager = (f"127.0.0.1:{free_port()}" for _ in range(2))
    write(folder / "rules.yml", "alerts")
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": ["rules.yml"],
        "alerting": {
            "alertmanagers": [{"static_configs": [{"targets": [alertmanager]}]}]
        },
        "scrape_configs": [
            {"job_name": "reftide", "static_configs": [{"targets": [*targets]}]}
        ],
    }
    (folder / "prometheus.yml").write_bytes(orjson.dumps(config))
    inhibitions = Cli().run("monitoring", "inhibitions").document
    routes = {"route": {"receiver": "nobody"}, "receivers": [{"name": "nobody"}]}
    (folder / "alertmanager.yml").write_bytes(orjson.dumps({**routes, **inhibitions}))
    commands = {
        "prometheus": [
            "--config.file=prometheus.yml",
            "--storage.tsdb.path=metrics",
            f"--web.listen-address={prometheus}",
        ],
        "prometheus-alertmanager": [
            "--config.file=alertmanager.yml",
            "--storage.path=alerts",
            "--cluster.listen-address=",
            f"--web.listen-address={alertmanager}",
        ],
    }
    running = [_start(folder, name, options) for name, options in commands.items()]
    try:
        found = Monitoring(f"http://{prometheus}", f"http://{alertmanager}")
        until(found.answers, seconds=60)
        until(lambda: found.has_scraped(6), seconds=60)
        yield found
    finally:
        for process in running:
            process.terminate()
            process.wait(20)


def _start(
    folder: Path, name: str, options: Sequence[str]
) -> "subprocess.Popen[bytes]":
    with (folder / f"{name}.log").open("wb") as log:
        return subprocess.Popen([program(name), *options], cwd=folder, stderr=log)


def _get(url: str) -> Any:
    with urlopen(url, timeout=10) as answer:  # noqa: S310 -- ours, over HTTP
        return orjson.loads(answer.read())
