"""The metrics of the whole installation, which every worker reads from the servers.

They are the same on each worker: take the maximum, not the sum.
"""

from functools import partial
from typing import Final

from prometheus_client import Gauge

from ingest.contracts.metrics.worker import REGISTRY

_gauge: Final = partial(Gauge, registry=REGISTRY)

LAG_SECONDS: Final = _gauge(
    "reftide_lag_seconds",
    "How long the oldest entry of a shard has waited to be recorded.",
    ("shard",),
)
LAG_ENTRIES: Final = _gauge(
    "reftide_lag_entries",
    "Entries of a shard that wait to be recorded, those in hand included.",
    ("shard",),
)
PENDING_ENTRIES: Final = _gauge(
    "reftide_pending_entries",
    "Entries of a shard that a worker was given and has not acknowledged.",
    ("shard",),
)
PENDING_SECONDS: Final = _gauge(
    "reftide_pending_seconds", "The age of a shard's oldest pending entry.", ("shard",)
)
STREAM_ENTRIES: Final = _gauge(
    "reftide_stream_entries",
    "Entries that a shard's stream holds, recorded ones included.",
    ("shard",),
)
REDIS_BYTES: Final = _gauge(
    "reftide_redis_bytes",
    "Memory that Redis uses; of several servers of streams, the one that has the least"
    " left.",
)
REDIS_LIMIT: Final = _gauge("reftide_redis_limit_bytes", "Redis' `maxmemory`; 0: none.")
LEDGER: Final = _gauge(
    "reftide_ledger_entries",
    "The ledger, by account: `accepted`, `recorded`, `repeats`, `quarantined`,"
    " `lost`, `in_flight`.",
    ("account",),
)
BALANCE: Final = _gauge(
    "reftide_ledger_balance",
    "`accepted` minus all other accounts; NaN while a long backlog is not counted.",
)
QUARANTINE_SHARE: Final = _gauge(
    "reftide_quarantine_share_ratio",
    "How much of its share of quarantine the largest holder has: `all`, a `workspace`,"
    " a `link` or a `sender` without a key.",
    ("level",),
)
QUARANTINE_OPEN: Final = _gauge(
    "reftide_quarantine_open", "Open entries of quarantine, by reason.", ("reason",)
)
REPLAY_REMAINING: Final = _gauge(
    "reftide_replay_remaining_entries",
    "Entries that replays have still to read, as far as can be foreseen.",
)
ARCHIVE_BEHIND: Final = _gauge(
    "reftide_archive_behind_seconds",
    "How long the oldest entry has waited for its segment of the archive.",
)
WORKERS_ALIVE: Final = _gauge(
    "reftide_workers_alive", "Workers whose heartbeat Redis has."
)
SAMPLED: Final = _gauge(
    "reftide_sampled_timestamp_seconds",
    "When this worker last read the figures of the installation.",
)
