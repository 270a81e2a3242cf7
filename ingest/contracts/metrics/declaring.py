"""The registry of a process's metrics, and how it is shown.

prometheus-client's multiprocess mode is not used: its files are mapped into memory, and
a process that writes to one while the disk is full is killed by SIGBUS.
"""

from typing import Final

from prometheus_client import (
    CollectorRegistry,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

#: What is served under `/metrics`: Prometheus' text format.
CONTENT_TYPE: Final = CONTENT_TYPE_PLAIN_0_0_4

# A counter begins with its process, whose start is shown.
disable_created_metrics()  # type: ignore[no-untyped-call]  # theirs


def registry() -> CollectorRegistry:
    """A registry that holds only memory, processor time and files of the process."""
    fresh = CollectorRegistry()
    ProcessCollector(registry=fresh)
    return fresh


def render(registry: CollectorRegistry) -> bytes:
    """The metrics in Prometheus' text format."""
    return generate_latest(registry)
