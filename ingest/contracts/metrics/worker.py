"""The metrics of one worker."""

from functools import partial
from typing import Final

from prometheus_client import Counter, Gauge, Histogram

from ingest.contracts.metrics.build import version
from ingest.contracts.metrics.declaring import registry

REGISTRY: Final = registry()
_counter: Final = partial(Counter, registry=REGISTRY)
_gauge: Final = partial(Gauge, registry=REGISTRY)

_BATCH_SECONDS: Final = (
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
)  # fmt: skip

BUILD: Final = _gauge(
    "reftide_build_info", "1, for the release that this process runs.", ("version",)
)
BUILD.labels(version()).set(1)
BATCHES: Final = _counter(
    "reftide_worker_batches_total", "Batches that were settled.", ("shard",)
)
BATCH_SECONDS: Final = Histogram(
    "reftide_worker_batch_seconds",
    "How long a batch took, waiting for PostgreSQL included.",
    buckets=_BATCH_SECONDS,
    registry=REGISTRY,
)
RECORDED: Final = _counter(
    "reftide_worker_recorded_total", "Events that were recorded."
)
REPEATS: Final = _counter(
    "reftide_worker_repeats_total", "Events that were recorded already."
)
QUARANTINED: Final = _counter(
    "reftide_worker_quarantined_total",
    "Events that could not be recorded, by reason.",
    ("reason",),
)
DROPPED: Final = _counter(
    "reftide_worker_dropped_total",
    "Quarantined entries that were not kept because quarantine was full.",
    ("reason",),
)
UNPUBLISHED: Final = _counter(
    "reftide_worker_unpublished_total",
    "Customers and short click ids that no API key vouched for and that were not published,"
    " because Redis fills and a `workspace` or a `link` had its share.",
    ("level",),
)
HELD_BACK: Final = _counter(
    "reftide_worker_held_back_total",
    "Entries of a later release, left pending; each delivery counts.",
)
LOST_UNREAD: Final = _counter(
    "reftide_worker_lost_total",
    "Entries that vanished from the stream before they were recorded.",
    ("shard",),
)
GROUPS_MADE: Final = _counter(
    "reftide_worker_groups_made_total",
    "Streams or groups that were missing and were created.",
    ("shard",),
)
DELAYS: Final = _counter(
    "reftide_worker_delays_total",
    "Attempts on a shard that failed because a server did not answer as it should.",
    ("shard",),
)
DELAYED: Final = _gauge(
    "reftide_worker_delayed",
    "1 while this worker's reading of a shard waits for a server.",
    ("shard",),
)
ARCHIVED: Final = _counter(
    "reftide_worker_archived_total",
    "Entries that this worker wrote to the archive.",
    ("shard",),
)
ARCHIVE_DAMAGED: Final = _counter(
    "reftide_worker_archive_damaged_total",
    "Parts of the archive that could not be read and were left out; each attempt counts.",
)
UPLOADED: Final = _counter(
    "reftide_worker_archive_uploaded_total",
    "Segments that this worker uploaded to the object store.",
)
UPLOAD_DELAYS: Final = _counter(
    "reftide_worker_archive_upload_delays_total",
    "Attempts to upload segments that failed.",
)
UPLOADS_WAITING: Final = _gauge(
    "reftide_worker_archive_uploads_waiting",
    "Segments that the object store does not have yet; 0 on workers that do not"
    " upload.",
)
PAUSED: Final = _gauge(
    "reftide_worker_paused",
    "1 while recording is paused, until an operator resumes it.",
)
LAST_COMMIT: Final = _gauge(
    "reftide_worker_last_commit_timestamp_seconds",
    "When this worker last committed a batch; 0: not yet.",
)
JOBS: Final = _counter(
    "reftide_worker_jobs_total",
    "Runs of the jobs, by outcome: `done` or `failed`.",
    ("job", "outcome"),
)
ENRICHERS_FAILED: Final = _counter(
    "reftide_worker_enrichers_failed_total",
    "Events that an enricher could not enrich because of an error.",
    ("enricher",),
)
