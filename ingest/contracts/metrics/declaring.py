"""The registry of a process's metrics, and how it is shown.

prometheus-client's multiprocess mode is not used: its files are mapped into memory, and
a process that writes to one while the disk is full is killed by SIGBUS.
"""

from prometheus_client import (
    CollectorRegistry,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.exposition import choose_encoder

# A counter begins with its process, whose start is shown.
disable_created_metrics()  # type: ignore[no-untyped-call]  # theirs


def registry() -> CollectorRegistry:
    """A registry that holds only memory, processor time and files of the process."""
    fresh = CollectorRegistry()
    ProcessCollector(registry=fresh)
    return fresh


def render(registry: CollectorRegistry, accept: str = "") -> tuple[bytes, str]:
    """The metrics and their content type: OpenMetrics where `accept` asks for it.

    Otherwise it is Prometheus' text format.
    """
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type
