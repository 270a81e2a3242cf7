"""What `reftide status` makes of what it reads: findings, and answers in words."""

from datetime import UTC, datetime, timedelta
from typing import Any

from scripts.services.observe.answers import answers, span
from scripts.services.observe.findings import find
from tests.support.servers.runbook import PAGE

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
HOUR_AGO = NOW - timedelta(hours=1)
WELL: dict[str, Any] = {
    "at": NOW,
    "reachable": {"redis": True, "postgres": True},
    "away": [],
    "answered_at": {"redis": None, "postgres": None},
    "last_known": None,
    "accepted": 9,
    "recorded": 9,
    "lost": 0,
    "lost_at_most": 0,
    "in_flight": 0,
    "balance": 0,
    "is_still": True,
    "spooled": 0,
    "lag_seconds": 0.0,
    "hours_left": None,
    "spool_bytes": 0,
    "spool_hours_left": None,
    "workers": 1,
    "paused": None,
    "archive": None,
    "streams_seen_at": HOUR_AGO,
    "edge_gone_at": HOUR_AGO,
    "shards_agreed": "4",
    "shards_change_since": None,
    **dict.fromkeys(
        (
            "losses",
            "ended",
            "edges",
            "silent",
            "spools",
            "uploads",
            "dropped",
            "stuck",
            "stream_servers",
        ),
        (),
    ),
}
LOSS = {"lost": 3, "at_most": 5, "is_recent": True, "since": HOUR_AGO, "until": NOW}
DROPPED = {"entries": 7, "first": HOUR_AGO, "latest": NOW}
STUCK = {"reason": "crash_loop", "entries": 3, "since": HOUR_AGO}
SPOOL = {"spool": "/s", "events": 2, "in_use": False, "oldest": HOUR_AGO}
UPLOADS = {"archive": "a", "why": "no bucket", "failing_seconds": 60}
PAUSED = {"paused_at": HOUR_AGO, "detail": "Oops", "cause": "bug"}
SILENT = {"name": "edge-1", "url": "http://e:1", "problem": "does not answer: no"}
PROXY = {"address": "10.0.0.5", "requests": 90, "of": 99}


def _judged(**changes: Any) -> tuple[list[Any], dict[str, str]]:
    status = WELL | changes
    status["findings"] = find(status)
    told = {question: " ".join(lines) for question, lines in answers(status).items()}
    return status["findings"], told


def _wrong() -> list[tuple[dict[str, Any], str]]:
    edge = {"edge": "e", "why": "w", "level_since": HOUR_AGO}
    away = {"problem": "gone.", "remedy": "bring it back."}
    return [
        ({"losses": [LOSS]}, "`reftide replay --from 2026-03-01T11:00:00Z`"),
        ({"losses": [LOSS | {"since": None}]}, "--from 2026-02-28T12:00:00Z`"),
        ({"ended": [{"missing": 4, "ended_at": NOW}]}, "2026-03-01T11:00:00Z"),
        ({"paused": PAUSED}, "`reftide resume`"),
        ({"paused": PAUSED | {"cause": "culprits"}}, "`reftide resume --allow N`"),
        ({"edges": [edge | {"level": "refuse"}]}, "Free its disk"),
        ({"edges": [edge | {"level": "spool"}]}, "`reftide doctor`"),
        (
            {"edges": [edge | {"level": "spool", "why": "its streams are sealed"}]},
            "Restart it with REFTIDE_SHARDS",
        ),
        ({"edges": [edge | {"level": "stream", "shards": "8"}]}, "REFTIDE_SHARDS"),
        ({"shards_change_since": HOUR_AGO}, "`reftide shards` says how"),
        ({"edges": [edge | {"level": "", "clock_ahead_seconds": -90.0}]}, "Run NTP"),
        ({"edges": [{"level": "", "forwarder": PROXY}]}, "TRUSTED_PROXIES=10.0.0.5"),
        ({"silent": [SILENT]}, "http://e:1"),
        ({"silent": [SILENT | {"name": "worker-1"}]}, "Start it again"),
        ({"workers": 0, "silent": [SILENT | {"name": "worker-1"}]}, "`reftide worker`"),
        ({"lag_seconds": 61.0}, "Start more workers"),
        ({"balance": 2}, "`reftide verify`"),
        ({"spools": [SPOOL]}, "`reftide spool drain /s`"),
        ({"uploads": [UPLOADS]}, "Fix it"),
        ({"archive": {"lag_seconds": 3600.0, "entries": 1}}, "REFTIDE_ARCHIVE"),
        ({"stuck": [STUCK]}, "edit, redrive or discard"),
        ({"dropped": [DROPPED]}, "`reftide quarantine list`"),
        ({"away": [away | {"server": "redis"}]}, "Bring it back."),
        ({"away": [away | {"server": "postgres"}]}, "Bring it back."),
    ]


def test_where_nothing_is_wrong_there_is_nothing_to_do() -> None:
    found, told = _judged()

    assert [] == found
    assert ["no", "nothing is wrong", "0.0 s, 0 in flight", "nothing", "yes"] == list(
        told.values()
    )


def test_each_finding_names_what_to_do_and_a_heading_of_the_runbook() -> None:
    for changes, remedy in _wrong():
        found, told = _judged(**changes)

        assert 1 == len(found), changes
        assert remedy in told["What do I do?"]
        assert f"docs/runbook.md, {found[0]['runbook']}." in told["What do I do?"]
        assert f"\n## {found[0]['runbook']}\n" in PAGE
        assert told["Is it over?"].startswith("no")


def test_a_loss_is_said_as_a_range_with_its_time() -> None:
    _, told = _judged(lost=3, lost_at_most=5, losses=[LOSS])
    _, unsure = _judged(lost_at_most=None, losses=[LOSS | {"lost": 0}])

    assert told["Is anything lost?"].startswith("yes: 3 to 5 events")
    assert "1. 2026-03-01 11:00:00 UTC, 60 min ago" == told["Since when?"]
    assert unsure["Is anything lost?"].startswith("perhaps: 0 or more events")


def test_what_is_wrong_beyond_a_screen_is_counted() -> None:
    found, told = _judged(workers=0, paused=PAUSED, silent=[SILENT] * 3)

    assert 5 == len(found)
    assert "2 more: reftide status --json" in told["What do I do?"]


def test_what_still_waits_on_disks_is_not_over() -> None:
    _, told = _judged(spooled=1, spool_bytes=500, spool_hours_left=2.0)

    assert "1 event (500 bytes) on disks" in told["How far behind?"]
    assert "room for 2.0 h" in told["How far behind?"]
    assert told["Is it over?"].startswith("nearly")


def test_hours_of_memory_are_told_while_postgres_is_away() -> None:
    away = {"redis": True, "postgres": False}
    _, told = _judged(reachable=away, lost=None, balance=None, hours_left=3.5)

    assert "Redis has room for 3.5 h" in told["How far behind?"]
    assert "nobody knows" in told["Is anything lost?"]


def test_spans_have_the_unit_that_people_compare() -> None:
    shown = [span(seconds) for seconds in (-1, 59, 600, 10_000, 400_000)]

    assert ["0.0 s", "59.0 s", "10 min", "2.8 h", "5 days"] == shown
