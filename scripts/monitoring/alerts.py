"""The alerts, each with series at which it fires, and series at which it must not.

Metrics of the installation are the same on every worker: expressions take their maximum.
"""

from collections.abc import Mapping, Sequence
from typing import Final, Literal, NamedTuple

#: Of a test: samples by series, a minute apart, in promtool's notation.
Series = Mapping[str, str]


class Alert(NamedTuple):
    """A rule, and what proves it.

    `waits` is for how many minutes `expr` has to hold. `runbook` is a heading of
    docs/runbook.md.
    """

    name: str
    severity: Literal["critical", "warning"]
    expr: str
    waits: int
    summary: str
    runbook: str
    fires: Series
    holds: Series


#: Whether no edge lost its Redis: while one has, what follows from that is no news.
_REDIS_IS_THERE: Final = (
    'unless on() (min(reftide_edge_reached{part="directory"}) == 0)'
)

#: Requests in a quarter of an hour whose codes no link has, from the second of a code on.
_MISPRINTED: Final = 20

ALERTS: Final = (
    Alert(
        "ReftideEventsLost",
        "critical",
        'max(reftide_ledger_entries{account="lost"})'
        ' - (min(min_over_time(reftide_ledger_entries{account="lost"}[15m]))) > 0'
        " or sum(increase(reftide_edge_lost_total"
        '{reason!~"rate_limited|switched_off"}[15m])) > 0',
        0,
        "Events that were accepted are gone.",
        "Something is wrong",
        fires={'reftide_ledger_entries{account="lost"}': "0x10 7x10"},
        holds={'reftide_ledger_entries{account="lost"}': "7x20"},
    ),
    Alert(
        "ReftideEdgeRefuses",
        "critical",
        'max by (instance) (reftide_edge_level{level="refuse"}) == 1',
        1,
        "An edge answers 503: neither Redis nor its disk takes events.",
        "An edge refuses",
        fires={'reftide_edge_level{level="refuse", instance="e1"}': "0x5 1x15"},
        holds={'reftide_edge_level{level="refuse", instance="e1"}': "0x10 1 0x9"},
    ),
    Alert(
        "ReftideRedisAway",
        "critical",
        'min by (instance) (reftide_edge_reached{part="directory"}) == 0',
        1,
        "Redis does not answer an edge, which keeps events on its disk.",
        "Redis is away",
        fires={'reftide_edge_reached{part="directory", instance="e1"}': "1x5 0x15"},
        holds={'reftide_edge_reached{part="directory", instance="e1"}': "1x10 0 1x9"},
    ),
    Alert(
        "ReftideEdgeSpools",
        "warning",
        f'max by (instance) (reftide_edge_level{{level="spool"}}) == 1 {_REDIS_IS_THERE}',
        1,
        "Redis answers, but takes no events, or too many wait there: an edge uses its disk.",
        "Redis is away",
        fires={
            'reftide_edge_level{level="spool", instance="e1"}': "0x5 1x15",
            'reftide_edge_reached{part="directory"}': "1x20",
        },
        holds={
            'reftide_edge_level{level="spool", instance="e1"}': "0x5 1x15",
            'reftide_edge_reached{part="directory"}': "0x20",
        },
    ),
    Alert(
        "ReftideSpoolFills",
        "critical",
        "max by (instance) (reftide_edge_spool_bytes / reftide_edge_spool_limit_bytes)"
        " > 0.5",
        0,
        "The events that wait on an edge's disk fill half of their room.",
        "Redis is away",
        fires={
            'reftide_edge_spool_bytes{instance="e1"}': "0+100x20",
            'reftide_edge_spool_limit_bytes{instance="e1"}': "2000x20",
        },
        holds={
            'reftide_edge_spool_bytes{instance="e1"}': "0+40x20",
            'reftide_edge_spool_limit_bytes{instance="e1"}': "2000x20",
        },
    ),
    Alert(
        "ReftidePostgresAway",
        "critical",
        f"max(reftide_worker_delayed) == 1 {_REDIS_IS_THERE}",
        1,
        "Workers wait for PostgreSQL. Events wait in Redis meanwhile.",
        "PostgreSQL is away",
        fires={
            'reftide_worker_delayed{shard="0"}': "0x5 1x15",
            'reftide_edge_reached{part="directory"}': "1x20",
        },
        holds={
            'reftide_worker_delayed{shard="0"}': "0x5 1x15",
            'reftide_edge_reached{part="directory"}': "1x4 0x16",
        },
    ),
    Alert(
        "ReftideWorkersGone",
        "critical",
        "(max(reftide_workers_alive) < 1 or absent(reftide_workers_alive))"
        f" {_REDIS_IS_THERE}",
        1,
        "No worker is alive: nothing is recorded.",
        "Workers are gone or too slow",
        fires={"reftide_workers_alive": "2x5 stale"},
        holds={"reftide_workers_alive": "2x20"},
    ),
    Alert(
        "ReftideLagGrows",
        "warning",
        "max(reftide_lag_seconds) > 60",
        5,
        "Events wait for more than a minute to be recorded.",
        "Workers are gone or too slow",
        fires={'reftide_lag_seconds{shard="0"}': "0+30x20"},
        holds={'reftide_lag_seconds{shard="0"}': "0 90 0x18"},
    ),
    Alert(
        "ReftideRecordingPaused",
        "critical",
        "max(reftide_worker_paused) == 1",
        0,
        "Recording is paused until an operator resumes it.",
        "Recording is paused",
        fires={"reftide_worker_paused": "0x10 1x10"},
        holds={"reftide_worker_paused": "0x20"},
    ),
    Alert(
        "ReftideLedgerUnbalanced",
        "critical",
        f"max(reftide_ledger_balance) > 0 {_REDIS_IS_THERE}",
        5,
        "Accepted events are neither recorded, quarantined nor in flight.",
        "Somebody trimmed a stream",
        fires={"reftide_ledger_balance": "0x5 3x15"},
        holds={"reftide_ledger_balance": "0x5 3x2 -2x12"},
    ),
    Alert(
        "ReftideRedisFills",
        "warning",
        "max(reftide_redis_bytes / (reftide_redis_limit_bytes > 0)) > 0.7",
        5,
        "Redis has used 70 % of its memory; from 80 % on edges use their disks.",
        "Workers are gone or too slow",
        fires={
            "reftide_redis_bytes": "800x20",
            "reftide_redis_limit_bytes": "1000x20",
        },
        holds={"reftide_redis_bytes": "800x20", "reftide_redis_limit_bytes": "0x20"},
    ),
    Alert(
        "ReftideQuarantineNeedsYou",
        "warning",
        'sum(max by (reason) (reftide_quarantine_open{reason=~"undecodable|unstorable|crash_loop"}))'
        " > 0",
        0,
        "Quarantine has entries that nothing but a person or a release can mend.",
        "Events are in quarantine",
        fires={'reftide_quarantine_open{reason="crash_loop"}': "0x10 1x10"},
        holds={'reftide_quarantine_open{reason="unknown_link"}': "0x10 900x10"},
    ),
    Alert(
        "ReftideArchiveBehind",
        "warning",
        "max(reftide_archive_behind_seconds) > 1800",
        5,
        "The archive is half an hour behind, and streams are not trimmed meanwhile.",
        "The archive stands still",
        fires={"reftide_archive_behind_seconds": "0+300x20"},
        holds={"reftide_archive_behind_seconds": "0 300 600 0x17"},
    ),
    Alert(
        "ReftideArchiveDamaged",
        "warning",
        "sum(increase(reftide_worker_archive_damaged_total[1h])) > 0",
        0,
        "Parts of the archive cannot be read; a replay leaves them out.",
        "The archive is damaged",
        fires={"reftide_worker_archive_damaged_total": "0x10 2x10"},
        holds={"reftide_worker_archive_damaged_total": "2x20"},
    ),
    Alert(
        "ReftideUnknownCodes",
        "warning",
        f"sum(increase(reftide_edge_unknown_codes_total[15m])) > {_MISPRINTED}",
        0,
        "The same codes come again and again, and no link has them.",
        "A code is mistyped",
        fires={"reftide_edge_unknown_codes_total": "0+5x20"},
        holds={"reftide_edge_unknown_codes_total": "40+1x20"},
    ),
    Alert(
        "ReftideClockWrong",
        "warning",
        "max by (instance) (abs(reftide_edge_clock_ahead_seconds)) > 0",
        1,
        "The clock of an edge's machine, or of Redis', is wrong by more than a minute.",
        "A clock is wrong",
        fires={'reftide_edge_clock_ahead_seconds{instance="e1"}': "0x5 -3600x15"},
        holds={'reftide_edge_clock_ahead_seconds{instance="e1"}': "0x20"},
    ),
)

#: Without PostgreSQL or a worker; entries stay in the streams, which fill.
_IF_NOBODY_WORKS: Final = (
    "ReftideLagGrows", "ReftideArchiveBehind", "ReftideEdgeSpools",
)  # fmt: skip

#: While the first of these fires, the others follow from it and are not sent.
INHIBITS: Final[Mapping[str, Sequence[str]]] = {
    # Its section says what to do about Redis, too.
    "ReftideEdgeRefuses": ("ReftideRedisAway", "ReftideEdgeSpools", "ReftideSpoolFills"),
    "ReftideRedisAway": (
        "ReftidePostgresAway", "ReftideWorkersGone", "ReftideLagGrows",
        "ReftideLedgerUnbalanced", "ReftideEdgeSpools",
    ),
    "ReftidePostgresAway": _IF_NOBODY_WORKS,
    "ReftideWorkersGone": _IF_NOBODY_WORKS,
    # Too many entries that are invalid are a reason to pause.
    "ReftideRecordingPaused": (
        "ReftideLagGrows", "ReftideEdgeSpools", "ReftideQuarantineNeedsYou",
    ),
}  # fmt: skip
