"""The figures of one worker, and what to do about each."""

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

from ingest.contracts.metrics.declaring import Metric, declared, registry

REGISTRY: Final = registry()

_BATCH_SECONDS: Final = (
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
)  # fmt: skip

BATCHES: Final = declared(
    Counter,
    REGISTRY,
    Metric(
        "reftide_worker_batches_total",
        "batches",
        "Batches that were settled, each in its own transactions.",
        "stands still while the lag grows: see `batch.delayed` in the log",
        ("shard",),
    ),
)
BATCH_SECONDS: Final = declared(
    Histogram,
    REGISTRY,
    Metric(
        "reftide_worker_batch_seconds",
        "seconds",
        "How long a batch took, waiting for PostgreSQL included.",
        "p99 above 5 s: PostgreSQL is slow: its locks, its disk, its processors",
    ),
    buckets=_BATCH_SECONDS,
)
RECORDED: Final = declared(
    Counter,
    REGISTRY,
    Metric(
        "reftide_worker_recorded_total",
        "events",
        "Events that were recorded.",
        "0 while edges accept: see the lag and the log",
    ),
)
REPEATS: Final = declared(
    Counter,
    REGISTRY,
    Metric(
        "reftide_worker_repeats_total",
        "events",
        "Events that were recorded already.",
        "most of all events for long: a client sends everything twice, or a spool is"
        " drained again",
    ),
)
QUARANTINED: Final = declared(
    Counter,
    REGISTRY,
    Metric(
        "reftide_worker_quarantined_total",
        "events",
        "Events that could not be recorded, by reason.",
        "`reftide quarantine list`; `undecodable`, `unstorable` and `crash_loop` are bugs"
        " or tampering",
        ("reason",),
    ),
)
DROPPED: Final = declared(
    Counter,
    REGISTRY,
    Metric(
        "reftide_worker_dropped_total",
        "entries",
        "Those among them that were not kept: clients caused more than there is room for.",
        "find out who sends them; discard what is rubbish, or raise"
        " `REFTIDE_QUARANTINE_ROWS`; a replay brings back what can be placed",
        ("reason",),
    ),
)
HELD_BACK: Final = declared(
    Counter,
    REGISTRY,
    Metric(
        "reftide_worker_held_back_total",
        "deliveries",
        "Entries of a later release, left pending; each delivery counts.",
        "any: upgrade this worker",
    ),
)
LOST_UNREAD: Final = declared(
    Counter,
    REGISTRY,
    Metric(
        "reftide_worker_lost_total",
        "entries",
        "Entries that vanished from the stream before they were recorded.",
        "any: alarm; somebody trimmed or deleted, or Redis lost its data",
        ("shard",),
    ),
)
GROUPS_MADE: Final = declared(
    Counter,
    REGISTRY,
    Metric(
        "reftide_worker_groups_made_total",
        "groups",
        "How often the stream or its group was missing and was made.",
        "more than at the first start: alarm; Redis lost its data",
        ("shard",),
    ),
)
DELAYS: Final = declared(
    Counter,
    REGISTRY,
    Metric(
        "reftide_worker_delays_total",
        "attempts",
        "Attempts on a shard that failed because a server did not answer as it should.",
        "grows: see `batch.delayed` in the log for which server, and why",
        ("shard",),
    ),
)
DELAYED: Final = declared(
    Gauge,
    REGISTRY,
    Metric(
        "reftide_worker_delayed",
        "1 or 0",
        "1 while this worker's reading of a shard waits for a server.",
        "1 for a minute: bring the server back; nothing is lost meanwhile",
        ("shard",),
    ),
)
ARCHIVED: Final = declared(
    Counter,
    REGISTRY,
    Metric(
        "reftide_worker_archived_total",
        "entries",
        "Entries that this worker brought into the archive.",
        "stands still while edges accept, on all workers: see `archive.delayed` in the log;"
        " nothing is trimmed meanwhile",
        ("shard",),
    ),
)
UPLOADED: Final = declared(
    Counter,
    REGISTRY,
    Metric(
        "reftide_worker_archive_uploaded_total",
        "segments",
        "Segments that this worker brought into the object store.",
        "stands still while segments wait: see `archive.upload_delayed` in the log",
    ),
)
UPLOAD_DELAYS: Final = declared(
    Counter,
    REGISTRY,
    Metric(
        "reftide_worker_archive_upload_delays_total",
        "attempts",
        "Attempts to upload segments that failed.",
        "grows: see `archive.upload_delayed` in the log; archiving and trimming go on",
    ),
)
UPLOADS_WAITING: Final = declared(
    Gauge,
    REGISTRY,
    Metric(
        "reftide_worker_archive_uploads_waiting",
        "segments",
        "Segments that the object store does not have yet; 0 on workers that do not"
        " upload.",
        "grows for an hour: the archive's disk keeps them all until the store is back",
    ),
)
PAUSED: Final = declared(
    Gauge,
    REGISTRY,
    Metric(
        "reftide_worker_paused",
        "1 or 0",
        "1 while recording is paused until an operator has looked.",
        "1: alarm; `reftide status` says why, `reftide resume` lets it go on; nothing is"
        " lost meanwhile",
    ),
)
LAST_COMMIT: Final = declared(
    Gauge,
    REGISTRY,
    Metric(
        "reftide_worker_last_commit_timestamp_seconds",
        "Unix seconds",
        "When this worker last committed a batch; 0: not yet.",
        "`time()` less this grows together with the lag: see `reftide_worker_delayed`",
    ),
)
JOBS: Final = declared(
    Counter,
    REGISTRY,
    Metric(
        "reftide_worker_jobs_total",
        "runs",
        "Runs of the jobs, by outcome: `done` or `failed`.",
        "`failed` grows: see `job.failed` in the log; edges see no new links meanwhile",
        ("job", "outcome"),
    ),
)
ENRICHERS_FAILED: Final = declared(
    Counter,
    REGISTRY,
    Metric(
        "reftide_worker_enrichers_failed_total",
        "events",
        "Events that an enricher could say nothing of, for an error.",
        "`city`: the geo file is missing or broken; others are bugs: see"
        " `enricher.failed` in the log",
        ("enricher",),
    ),
)
