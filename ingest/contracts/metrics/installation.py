"""The figures of the whole installation, which every worker reads from the servers.

They are the same from each worker: take the greatest and do not add up.
"""

from typing import Final

from prometheus_client import Gauge

from ingest.contracts.metrics.declaring import Metric, declared
from ingest.contracts.metrics.worker import REGISTRY

LAG_SECONDS: Final = declared(
    Gauge,
    REGISTRY,
    Metric(
        "reftide_lag_seconds",
        "seconds",
        "How long the oldest entry of a shard has waited to be recorded.",
        "above 30 s and growing: PostgreSQL is away or slow, or start more workers",
        ("shard",),
    ),
)
LAG_ENTRIES: Final = declared(
    Gauge,
    REGISTRY,
    Metric(
        "reftide_lag_entries",
        "entries",
        "Entries of a shard that wait to be recorded, those in hand included.",
        "grows: see `reftide_lag_seconds`",
        ("shard",),
    ),
)
PENDING_ENTRIES: Final = declared(
    Gauge,
    REGISTRY,
    Metric(
        "reftide_pending_entries",
        "entries",
        "Entries of a shard that a worker was given and has not acknowledged.",
        "stays above 0 at rest: a worker is gone and its entries wait to be reclaimed,"
        " or they are of a later release",
        ("shard",),
    ),
)
PENDING_SECONDS: Final = declared(
    Gauge,
    REGISTRY,
    Metric(
        "reftide_pending_seconds",
        "seconds",
        "The age of the oldest of those.",
        "above 120 s while batches are settled: an entry is never finished; see"
        " `entry.newer` in the log",
        ("shard",),
    ),
)
STREAM_ENTRIES: Final = declared(
    Gauge,
    REGISTRY,
    Metric(
        "reftide_stream_entries",
        "entries",
        "Entries that a shard's stream holds, recorded ones included.",
        "grows for days: Redis' memory ends; see `hours_left` of `reftide status`",
        ("shard",),
    ),
)
REDIS_BYTES: Final = declared(
    Gauge,
    REGISTRY,
    Metric(
        "reftide_redis_bytes",
        "bytes",
        "Memory that Redis uses.",
        "above 80 % of its limit edges go over to their disks: give it more",
    ),
)
REDIS_LIMIT: Final = declared(
    Gauge,
    REGISTRY,
    Metric(
        "reftide_redis_limit_bytes",
        "bytes",
        "Redis' `maxmemory`; 0: none.",
        "0: set it, see `reftide doctor`",
    ),
)
LEDGER: Final = declared(
    Gauge,
    REGISTRY,
    Metric(
        "reftide_ledger_entries",
        "events",
        "The ledger, by account: `accepted`, `recorded`, `repeats`, `quarantined`,"
        " `lost`, `in_flight`.",
        "the same as in `reftide status`",
        ("account",),
    ),
)
BALANCE: Final = declared(
    Gauge,
    REGISTRY,
    Metric(
        "reftide_ledger_balance",
        "events",
        "Accepted less all the others; no number while a long backlog is not counted.",
        "0 at rest, and a little less while events flow; above 0 for minutes: run"
        " `reftide verify`",
    ),
)
WORKERS_ALIVE: Final = declared(
    Gauge,
    REGISTRY,
    Metric(
        "reftide_workers_alive",
        "workers",
        "Workers whose heartbeat Redis has.",
        "fewer than you started: start them again",
    ),
)
SAMPLED: Final = declared(
    Gauge,
    REGISTRY,
    Metric(
        "reftide_sampled_timestamp_seconds",
        "Unix seconds",
        "When this worker last read the figures of the installation.",
        "`time()` less this above 30: a server does not answer, and they are old",
    ),
)
