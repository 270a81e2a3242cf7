"""`reftide monitoring`: what Prometheus, Alertmanager and Grafana read."""

from collections.abc import Callable, Mapping
from typing import Any, Final

import click

from scripts.monitoring.board import board
from scripts.monitoring.rules import inhibitions, rule_tests, rules
from scripts.output import as_document

_RUNBOOK: Final = click.option(
    "--runbook",
    default="docs/runbook.md",
    metavar="URL",
    help="Where the runbook can be read; alerts link to it.",
)


@click.group(
    epilog="""\b
Each prints one file, in JSON, which is YAML too:
  reftide monitoring alerts --runbook https://wiki.example/runbook > reftide.rules.yml
  reftide monitoring tests reftide.rules.yml > reftide.tests.yml
  promtool test rules reftide.tests.yml
"""
)
def command() -> None:
    """Alert rules for Prometheus with their tests, and a board for Grafana."""


@command.command("alerts")
@_RUNBOOK
def alerts(runbook: str) -> None:
    """Print the alert rules, for `rule_files` of Prometheus."""
    _print(rules(runbook))


@command.command("tests")
@click.argument("file", metavar="RULES")
@_RUNBOOK
def tests(file: str, runbook: str) -> None:
    """Print promtool's tests of the rule file RULES: each alert fires, and does not."""
    _print(rule_tests(file, runbook))


def _alone(name: str, make: Callable[[], Mapping[str, Any]], told: str) -> None:
    command.command(name, help=told)(lambda: _print(make()))


_alone("inhibitions", inhibitions, "Print `inhibit_rules`, for Alertmanager.")
_alone("board", board, "Print the board, for Grafana to import.")


def _print(document: Mapping[str, Any]) -> None:
    click.echo(as_document(document).decode(), nl=False)
