"""The figures of one edge, and what to do about each."""

from typing import Final

from prometheus_client import Counter, Gauge

from ingest.contracts.metrics.declaring import Metric, declared, registry
from ingest.contracts.metrics.tallies import LocalCounters, LocalHistograms

REGISTRY: Final = registry()

# What a request waits for: from a hit in the cache to the longest bounded wait.
_REQUEST_SECONDS: Final = (
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0,
)  # fmt: skip

REQUESTS: Final = declared(
    LocalCounters,
    REGISTRY,
    Metric(
        "reftide_edge_requests_total",
        "requests",
        "Requests by route and class of the answer; `aborted`: the caller went away.",
        "5xx that are not 503 are bugs: see `edge.failed` in the log",
        ("route", "status"),
    ),
)
REQUEST_SECONDS: Final = declared(
    LocalHistograms,
    REGISTRY,
    Metric(
        "reftide_edge_request_seconds",
        "seconds",
        "How long requests took, from their headers to their answer.",
        "p99 above 1 s: Redis or the disk is slow, or this edge has no processor left",
        ("route",),
    ),
    buckets=_REQUEST_SECONDS,
)
IN_FLIGHT: Final = declared(
    Gauge,
    REGISTRY,
    Metric(
        "reftide_edge_in_flight",
        "requests",
        "Requests under way.",
        "grows without more requests coming: see what they wait for, first Redis",
    ),
)
REFUSED: Final = declared(
    Counter,
    REGISTRY,
    Metric(
        "reftide_edge_refused_total",
        "requests and events",
        "What was refused, by dialect and code.",
        "a code that jumps is a client's mistake or a changed client; `overloaded`: look"
        " at Redis and the spool; `failed`: a bug",
        ("dialect", "code"),
    ),
)
ACCEPTED: Final = declared(
    LocalCounters,
    REGISTRY,
    Metric(
        "reftide_edge_accepted_total",
        "events",
        "Events that are durable, in the stream or on the disk.",
        "falls while requests do not: see what is refused",
        ("dialect", "kind"),
    ),
)
OVERLOADED: Final = declared(
    Counter,
    REGISTRY,
    Metric(
        "reftide_edge_overloaded_total",
        "events",
        "Events that neither the stream nor the disk took; clients were told to come back.",
        "any: look at Redis, and at the disk of this edge",
        ("dialect",),
    ),
)
LOST: Final = declared(
    Counter,
    REGISTRY,
    Metric(
        "reftide_edge_lost_total",
        "events",
        "Events that were not taken, in a dialect that never refuses: they are gone.",
        "any: alarm; look at Redis, and at the disk of this edge",
        ("dialect",),
    ),
)
LEVEL: Final = declared(
    Gauge,
    REGISTRY,
    Metric(
        "reftide_edge_level",
        "1 or 0",
        "1 for where events go now: `stream`, `spool` or `refuse`.",
        "`spool` for minutes: look at Redis and the workers; `refuse`: at once;"
        " `/readyz` says why",
        ("level",),
    ),
)
REACHED: Final = declared(
    Gauge,
    REGISTRY,
    Metric(
        "reftide_edge_reached",
        "1 or 0",
        "1 while Redis answers for the `directory`, the `claims`, the `limits`.",
        "0: look at Redis; cached links serve on, repeats are answered as firsts, each"
        " edge limits on its own",
        ("part",),
    ),
)
SPOOL_BYTES: Final = declared(
    Gauge,
    REGISTRY,
    Metric(
        "reftide_edge_spool_bytes",
        "bytes",
        "What waits on this edge's disk, adopted spools included.",
        "does not fall while the level is `stream`: see `spool.failed` in the log",
    ),
)
SPOOL_LIMIT: Final = declared(
    Gauge,
    REGISTRY,
    Metric(
        "reftide_edge_spool_limit_bytes",
        "bytes",
        "How much may wait there: `REFTIDE_SPOOL_BYTES`.",
        "the spool is above half of it: bring Redis back soon, or give the spool more",
    ),
)
