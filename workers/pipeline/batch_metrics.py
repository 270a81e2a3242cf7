"""Counts what became of batches. Called by the pipeline after a commit."""

from ingest.contracts.metrics.worker import (
    DROPPED,
    HELD_BACK,
    LAST_COMMIT,
    QUARANTINED,
    RECORDED,
    REPEATS,
)
from workers.counters.ledger import LedgerDelta


def count(tally: LedgerDelta, held_back: int, now_ms: int) -> None:
    """Add what one batch brought; `now_ms` is the wall clock in Unix milliseconds."""
    RECORDED.inc(tally.recorded.total())
    REPEATS.inc(tally.repeats.total())
    for reason, entries in tally.reasons.items():
        QUARANTINED.labels(reason).inc(entries)
    for reason, entries in tally.dropped.items():
        DROPPED.labels(reason).inc(entries)
    HELD_BACK.inc(held_back)
    LAST_COMMIT.set(now_ms / 1000)
