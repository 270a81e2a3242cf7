"""The alerts as files of Prometheus and Alertmanager.

The files are JSON, which is YAML too.
"""

import re
from typing import Any, Final

from scripts.monitoring.alerts import ALERTS, INHIBITS, Alert

#: At which minute of its series a test asks whether the alert fires.
_ASKED: Final = 18


def anchor(heading: str) -> str:
    """A heading's name in a URL, as renderers of Markdown make it."""
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


def rules(runbook: str) -> dict[str, Any]:
    """A rule file of Prometheus; `runbook` is where docs/runbook.md can be read."""
    made = [_rule(alert, runbook) for alert in ALERTS]
    return {"groups": [{"name": "reftide", "rules": made}]}


def inhibitions() -> dict[str, Any]:
    """`inhibit_rules` of Alertmanager: what follows from another alert is not sent."""
    return {
        "inhibit_rules": [
            {
                "source_matchers": [f'alertname = "{source}"'],
                "target_matchers": [f'alertname =~ "{"|".join(targets)}"'],
            }
            for source, targets in INHIBITS.items()
        ]
    }


def rule_tests(file: str, runbook: str) -> dict[str, Any]:
    """A test file of promtool for the rule file of that name: two cases of each alert."""
    cases = [
        case
        for alert in ALERTS
        for case in (
            _case(alert, "fires", runbook),
            _case(alert, "does not fire", runbook),
        )
    ]
    return {"rule_files": [file], "evaluation_interval": "1m", "tests": cases}


def _rule(alert: Alert, runbook: str) -> dict[str, Any]:
    return {
        "alert": alert.name,
        "expr": alert.expr,
        "for": f"{alert.waits}m",
        "labels": {"severity": alert.severity},
        "annotations": _annotations(alert, runbook),
    }


def _annotations(alert: Alert, runbook: str) -> dict[str, str]:
    return {
        "summary": alert.summary,
        "runbook_url": f"{runbook}#{anchor(alert.runbook)}",
    }


def _case(alert: Alert, outcome: str, runbook: str) -> dict[str, Any]:
    series = alert.fires if outcome == "fires" else alert.holds
    instance = re.search(r'instance="(\w+)"', str(series))
    labels = {"instance": instance[1]} if instance else {}
    fired = {
        "exp_labels": {**labels, "severity": alert.severity},
        "exp_annotations": _annotations(alert, runbook),
    }
    return {
        "name": f"{alert.name} {outcome}",
        "interval": "1m",
        "input_series": [
            {"series": name, "values": values} for name, values in series.items()
        ],
        "alert_rule_test": [
            {
                "eval_time": f"{_ASKED}m",
                "alertname": alert.name,
                "exp_alerts": [fired] if outcome == "fires" else [],
            }
        ],
    }
