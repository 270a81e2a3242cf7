"""How a figure is declared, and how figures are shown.

prometheus-client's multiprocess mode is not used: its files are mapped into memory, and
a process that writes to one while the disk is full is killed by SIGBUS.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from prometheus_client import (
    CollectorRegistry,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector

#: What is served under `/metrics`: Prometheus' text format.
CONTENT_TYPE: Final = CONTENT_TYPE_PLAIN_0_0_4

Wrapper = TypeVar("Wrapper", bound=Collector)

# A counter begins with its process, whose start is shown.
disable_created_metrics()  # type: ignore[no-untyped-call]  # theirs


@dataclass(frozen=True, slots=True)
class Metric:
    """A figure: its name, its unit, what it means and what to do about it."""

    name: str
    unit: str
    means: str
    remedy: str
    labels: tuple[str, ...] = ()

    def row(self) -> str:
        """Its line in docs/operating.md."""
        labels = " ".join(f"`{label}`" for label in self.labels)
        name = f"`{self.name}` {labels}".rstrip()
        return f"| {name} | {self.unit} | {self.means} | {self.remedy} |"


#: Everything that was declared in the modules imported so far.
METRICS: Final[list[Metric]] = []


def registry() -> CollectorRegistry:
    """An empty one but for memory, processor time and files, as all exporters have them."""
    fresh = CollectorRegistry()
    ProcessCollector(registry=fresh)
    return fresh


def declared(
    kind: type[Wrapper], registry: CollectorRegistry, metric: Metric, **more: Any
) -> Wrapper:
    """The counter, gauge or histogram of a figure; `more` are its other arguments."""
    METRICS.append(metric)
    make: Callable[..., Wrapper] = kind
    return make(metric.name, metric.means, metric.labels, registry=registry, **more)


def render(registry: CollectorRegistry) -> bytes:
    """What a collector reads."""
    return generate_latest(registry)
