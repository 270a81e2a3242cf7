"""The alert rules and the board fit the metrics that there are, and the runbook."""

import re
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from ingest.contracts.metrics import edge, worker
from scripts.monitoring.alerts import ALERTS, INHIBITS, Alert
from scripts.monitoring.board import NOT_SHOWN, board
from scripts.monitoring.rules import anchor
from tests.support.servers.cli import Cli

_RUNBOOK = Path(__file__).parents[3] / "docs" / "runbook.md"
FAMILIES = {
    family.name: family
    for registry in (edge.REGISTRY, worker.REGISTRY)
    for family in registry.collect()
    if family.name.startswith("reftide_")
}


def named_in(expr: str) -> set[str]:
    """The families that an expression reads."""
    names = re.findall(r"reftide_\w+", expr)
    return {re.sub("_(total|bucket)$", "", name) for name in names}


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)
def test_an_alert_reads_metrics_that_there_are(alert: Alert) -> None:
    assert named_in(alert.expr)
    assert named_in(alert.expr) <= FAMILIES.keys()
    for series in (alert.fires, alert.holds):
        assert named_in(" ".join(series)) <= named_in(alert.expr)


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)
def test_an_alert_leads_to_a_heading_of_the_runbook(alert: Alert) -> None:
    text = _RUNBOOK.read_text("utf-8")

    assert f"## {alert.runbook}\n" in text
    assert f"](#{anchor(alert.runbook)})" in text or alert.runbook == (
        "Something is wrong"
    )


def test_only_alerts_inhibit_and_are_inhibited() -> None:
    names = {alert.name for alert in ALERTS}

    assert len(names) == len(ALERTS) == 16
    assert {*INHIBITS, *(each for all_ in INHIBITS.values() for each in all_)} <= names


def test_each_alert_has_a_test_that_fires_and_one_that_does_not() -> None:
    made = Cli().run("monitoring", "tests", "rules.yml")

    cases = made.document["tests"]
    fired = [bool(case["alert_rule_test"][0]["exp_alerts"]) for case in cases]
    assert [True, False] * len(ALERTS) == fired
    assert ["rules.yml"] == made.document["rule_files"]


def test_alerts_link_to_the_runbook_that_is_named() -> None:
    url = "https://wiki.example/runbook"
    (group,) = Cli().run("monitoring", "alerts", "--runbook", url).document["groups"]

    links = {rule["annotations"]["runbook_url"] for rule in group["rules"]}
    assert f"{url}#redis-is-away" in links
    assert all(link.startswith(f"{url}#") for link in links)


def test_what_follows_from_another_alert_is_not_sent() -> None:
    made = Cli().run("monitoring", "inhibitions").document["inhibit_rules"]

    targets = {rule["source_matchers"][0]: rule["target_matchers"][0] for rule in made}
    assert "ReftideWorkersGone" in targets['alertname = "ReftideRedisAway"']


def test_every_metric_is_on_the_board_or_has_a_reason() -> None:
    shown = Cli().run("monitoring", "board").document
    expressions = [
        target["expr"]
        for panel in shown["panels"]
        for target in panel.get("targets", ())
    ]

    on_it = {name for expr in expressions for name in named_in(expr)}
    assert FAMILIES.keys() == on_it | NOT_SHOWN.keys()
    assert all(NOT_SHOWN.values())


def test_no_panel_covers_another() -> None:
    places = [panel["gridPos"] for panel in board()["panels"]]

    assert not any(overlap(one, other) for one, other in combinations(places, 2))
    assert all(place["x"] + place["w"] <= 24 for place in places)


def overlap(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return all(
        one[at] < other[at] + other[size] and other[at] < one[at] + one[size]
        for at, size in (("x", "w"), ("y", "h"))
    )
