"""The metrics of one edge."""

from functools import partial
from typing import Final

from prometheus_client import Counter, Gauge

from ingest.contracts.metrics.build import version
from ingest.contracts.metrics.declaring import registry
from ingest.contracts.metrics.tallies import LocalCounters, LocalHistograms

REGISTRY: Final = registry()
_counter: Final = partial(Counter, registry=REGISTRY)
_gauge: Final = partial(Gauge, registry=REGISTRY)

# What a request waits for: from a hit in the cache to the longest bounded wait.
_REQUEST_SECONDS: Final = (
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0,
)  # fmt: skip

BUILD: Final = _gauge(
    "reftide_build_info", "1, for the release that this process runs.", ("version",)
)
BUILD.labels(version()).set(1)
REQUESTS: Final = LocalCounters(
    "reftide_edge_requests_total",
    "Requests by route and status class; `aborted`: the client disconnected.",
    ("route", "status"),
    registry=REGISTRY,
)
REQUEST_SECONDS: Final = LocalHistograms(
    "reftide_edge_request_seconds",
    "How long requests took, from their headers to their answer.",
    ("route",),
    buckets=_REQUEST_SECONDS,
    registry=REGISTRY,
)
IN_FLIGHT: Final = _gauge("reftide_edge_in_flight", "Requests under way.")
LOOP_HELD: Final = _counter(
    "reftide_edge_loop_held_total",
    "How often a request held the event loop for more than 50 ms, by route.",
    ("route",),
)
REFUSED: Final = _counter(
    "reftide_edge_refused_total",
    "What was refused, by dialect and code.",
    ("dialect", "code"),
)
ACCEPTED: Final = LocalCounters(
    "reftide_edge_accepted_total",
    "Events that are durable, in the stream or on the disk.",
    ("dialect", "kind"),
    registry=REGISTRY,
)
OVERLOADED: Final = _counter(
    "reftide_edge_overloaded_total",
    "Events that neither the stream nor the disk took; the client was told to retry.",
    ("dialect",),
)
LOST: Final = _counter(
    "reftide_edge_lost_total",
    "Events that were not stored, in a dialect that never refuses: they are lost.",
    ("dialect", "reason"),
)
UNMARKED: Final = _counter(
    "reftide_edge_unmarked_total",
    "Events without a key that left no mark in Redis, because it fills and a `workspace`,"
    " a `link` or a `sender` had its share of marks.",
    ("level",),
)
LEVEL: Final = _gauge(
    "reftide_edge_level",
    "1 for the current degradation level: `stream`, `spool` or `refuse`.",
    ("level",),
)
REACHED: Final = _gauge(
    "reftide_edge_reached",
    "1 while Redis answers for the `directory`, the `claims`, the `limits`.",
    ("part",),
)
SPOOL_BYTES: Final = _gauge(
    "reftide_edge_spool_bytes",
    "Bytes that wait on this edge's disk, adopted spools included.",
)
SPOOL_LIMIT: Final = _gauge(
    "reftide_edge_spool_limit_bytes",
    "The most bytes that the spool may hold: `REFTIDE_SPOOL_BYTES`.",
)
CLOCK_AHEAD: Final = _gauge(
    "reftide_edge_clock_ahead_seconds",
    "By how much this machine's clock is ahead of Redis', where the edge corrects it; else 0.",
)
UNKNOWN_CODES: Final = _counter(
    "reftide_edge_unknown_codes_total",
    "Requests with a code that no link has and that came to this edge before.",
)
