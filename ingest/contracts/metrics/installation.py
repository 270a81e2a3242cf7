"""The metrics of the whole installation, which every worker reads from the servers.

They are the same on each worker: take the maximum, not the sum.
"""

from typing import Final

from prometheus_client import Gauge

from ingest.contracts.metrics.worker import REGISTRY

LAG_SECONDS: Final = Gauge(
    "reftide_lag_seconds",
    "How long the oldest entry of a shard has waited to be recorded.",
    ("shard",),
    registry=REGISTRY,
)
LAG_ENTRIES: Final = Gauge(
    "reftide_lag_entries",
    "Entries of a shard that wait to be recorded, those in hand included.",
    ("shard",),
    registry=REGISTRY,
)
PENDING_ENTRIES: Final = Gauge(
    "reftide_pending_entries",
    "Entries of a shard that a worker was given and has not acknowledged.",
    ("shard",),
    registry=REGISTRY,
)
PENDING_SECONDS: Final = Gauge(
    "reftide_pending_seconds",
    "The age of a shard's oldest pending entry.",
    ("shard",),
    registry=REGISTRY,
)
STREAM_ENTRIES: Final = Gauge(
    "reftide_stream_entries",
    "Entries that a shard's stream holds, recorded ones included.",
    ("shard",),
    registry=REGISTRY,
)
REDIS_BYTES: Final = Gauge(
    "reftide_redis_bytes",
    "Memory that Redis uses.",
    registry=REGISTRY,
)
REDIS_LIMIT: Final = Gauge(
    "reftide_redis_limit_bytes",
    "Redis' `maxmemory`; 0: none.",
    registry=REGISTRY,
)
LEDGER: Final = Gauge(
    "reftide_ledger_entries",
    "The ledger, by account: `accepted`, `recorded`, `repeats`, `quarantined`,"
    " `lost`, `in_flight`.",
    ("account",),
    registry=REGISTRY,
)
BALANCE: Final = Gauge(
    "reftide_ledger_balance",
    "`accepted` minus all other accounts; NaN while a long backlog is not counted.",
    registry=REGISTRY,
)
WORKERS_ALIVE: Final = Gauge(
    "reftide_workers_alive",
    "Workers whose heartbeat Redis has.",
    registry=REGISTRY,
)
SAMPLED: Final = Gauge(
    "reftide_sampled_timestamp_seconds",
    "When this worker last read the figures of the installation.",
    registry=REGISTRY,
)
