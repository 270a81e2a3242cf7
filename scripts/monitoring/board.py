"""A board for Grafana, made of the metrics that are declared: none is missing on it."""

from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric

from ingest.contracts.metrics import edge, installation, worker

_WIDTH, _HEIGHT, _COLUMNS = 8, 7, 3
_SOURCE: Final = {"type": "prometheus", "uid": "${source}"}
_CHOSEN: Final = 'job=~"$job", instance=~"$instance"'

#: Facts rather than figures: they say who runs, and are no curve.
NOT_SHOWN: Final = {"reftide_build_info": "a label of the process, for joins"}


class _Panel(NamedTuple):
    title: str
    means: str
    expr: str
    legend: str
    unit: str


def board() -> dict[str, Any]:
    """The board as Grafana imports it."""
    rows = {
        "The installation": _panels(worker.REGISTRY, is_shared=True),
        "Edges": _panels(edge.REGISTRY, is_shared=False),
        "Workers": _panels(worker.REGISTRY, is_shared=False),
    }
    return {
        "title": "Reftide",
        "uid": "reftide",
        "tags": ["reftide"],
        "schemaVersion": 39,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": [_source(), *map(_variable, ("job", "instance"))]},
        "panels": list(_placed(rows)),
    }


def _panels(registry: CollectorRegistry, *, is_shared: bool) -> list[_Panel]:
    """Of a process's metrics: those of the whole installation, or its own."""
    return [
        _panel(family)
        for family in registry.collect()
        if family.name.startswith("reftide_")
        and family.name not in NOT_SHOWN
        and _is_shared(family.name) == is_shared
    ]


def _is_shared(name: str) -> bool:
    return not name.startswith(("reftide_edge_", "reftide_worker_"))


def _panel(family: Metric) -> _Panel:
    return _Panel(
        title=family.name.removeprefix("reftide_").replace("_", " "),
        means=family.documentation,
        expr=_expr(family),
        legend=" ".join(f"{{{{{label}}}}}" for label in _labels(family)),
        unit=_unit(family),
    )


def _expr(family: Metric) -> str:
    by = ", ".join(_labels(family))
    name = f"{family.name}{{{_CHOSEN}}}"
    if family.type == "counter":
        total = f"{family.name}_total{{{_CHOSEN}}}"
        return f"sum by ({by}) (rate({total}[$__rate_interval]))"
    if family.type == "histogram":
        buckets = f"{family.name}_bucket{{{_CHOSEN}}}"
        rates = f"sum by (le) (rate({buckets}[$__rate_interval]))"
        return f"histogram_quantile(0.99, {rates})"
    if family.name.endswith("_timestamp_seconds"):
        return f"time() - max by ({by}) ({name})"
    return f"max by ({by}) ({name})"


def _labels(family: Metric) -> Sequence[str]:
    if family.type == "histogram":
        return ()
    own = _LABELS.get(family.name, ())
    alone = ("instance",) if not own and not _is_shared(family.name) else ()
    return (*own, *alone)


def _declared() -> Iterator[tuple[str, Sequence[str]]]:
    for module in (edge, worker, installation):
        for each in vars(module).values():
            if hasattr(each, "_labelnames"):
                yield each._name.removesuffix("_total"), each._labelnames  # noqa: SLF001 -- it says them nowhere else


_LABELS: Final = dict(_declared())


def _unit(family: Metric) -> str:
    if "_bytes" in family.name:
        return "bytes"
    return "s" if "_seconds" in family.name else "short"


def _placed(rows: dict[str, list[_Panel]]) -> Iterator[dict[str, Any]]:
    """The panels of each row, three beside each other, with their places."""
    top = number = 0
    for title, panels in rows.items():
        number += 1
        yield {
            "id": number,
            "type": "row",
            "title": title,
            "collapsed": False,
            "panels": [],
            "gridPos": {"h": 1, "w": 24, "x": 0, "y": top},
        }
        top += 1
        for at, panel in enumerate(panels):
            number += 1
            place = {
                "h": _HEIGHT,
                "w": _WIDTH,
                "x": at % _COLUMNS * _WIDTH,
                "y": top + at // _COLUMNS * _HEIGHT,
            }
            yield _drawn(number, panel, place)
        top += -(-len(panels) // _COLUMNS) * _HEIGHT


def _drawn(number: int, panel: _Panel, place: dict[str, int]) -> dict[str, Any]:
    return {
        "id": number,
        "type": "timeseries",
        "title": panel.title,
        "description": panel.means,
        "datasource": _SOURCE,
        "gridPos": place,
        "fieldConfig": {
            "defaults": {"unit": panel.unit, "min": 0},
            "overrides": [],
        },
        "targets": [
            {
                "refId": "A",
                "datasource": _SOURCE,
                "expr": panel.expr,
                "legendFormat": panel.legend or panel.title,
            }
        ],
    }


def _source() -> dict[str, Any]:
    return {"name": "source", "type": "datasource", "query": "prometheus"}


def _variable(label: str) -> dict[str, Any]:
    return {
        "name": label,
        "type": "query",
        "datasource": _SOURCE,
        "query": f"label_values(process_start_time_seconds, {label})",
        "refresh": 2,
        "includeAll": True,
        "multi": True,
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
    }
