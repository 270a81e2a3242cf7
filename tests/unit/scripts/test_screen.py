"""`reftide status` fits on a screen, however much there is to say."""

from datetime import timedelta
from typing import Any

from scripts.commands.screen import screen
from scripts.services.observe.findings import find
from tests.unit.scripts.test_findings import NOW, WELL

QUESTIONS = (
    "Is anything lost?", "Since when?", "How far behind?", "What do I do?", "Is it over?",
)  # fmt: skip
LONG = "x" * 300
HOUR_AGO = NOW - timedelta(hours=1)
CALM: dict[str, Any] = WELL | {
    **dict.fromkeys(
        (
            "repeats", "quarantined", "accepted_per_second", "recorded_per_second",
            "disk_free_bytes", "redis_memory_bytes",
        ),
        1,
    ),
    "redis_memory_limit_bytes": None,
    "bytes_per_event": None,
    "spool_limit_bytes": None,
    "worker_names": ["w1"],
    "is_exact": True,
    **dict.fromkeys(("shards", "replays", "shares", "unknown_codes"), ()),
}  # fmt: skip
LOSS = {
    "shard": 0, "epoch": 1, "lost": 3, "at_most": 5, "is_recent": True,
    "since": HOUR_AGO, "until": NOW,
}  # fmt: skip
SHARD = {"shard": 0, "epoch": 1, "length": 9, "in_flight": 0, "lag_seconds": 0.5}
EDGE = {"edge": "e", "level": "spool", "level_since": HOUR_AGO, "why": LONG}
CODE = {"code": LONG, "count": 9, "suggestion": LONG, "host": LONG, "last_seen": NOW}
DROPPED = {"reason": "unknown_link", "entries": 7, "first": HOUR_AGO, "latest": NOW}


def _lines(**changes: Any) -> list[str]:
    status = CALM | changes
    return list(screen(status | {"findings": find(status)}))


def test_all_that_can_be_wrong_at_once_fits_and_is_named() -> None:
    away = {"problem": LONG, "remedy": f"{LONG} {LONG}"}
    lines = _lines(
        away=[away | {"server": "redis"}, away | {"server": "postgres"}],
        losses=[LOSS] * 9,
        edges=[EDGE] * 30,
        shards=[SHARD] * 64,
        dropped=[DROPPED] * 9,
        unknown_codes=[CODE] * 99,
    )

    assert len(lines) <= 39
    assert max(map(len, lines)) <= 100
    assert all(any(line.startswith(one) for line in lines) for one in QUESTIONS)
    (rest,) = (line for line in lines if line.startswith("In reftide status --json: "))
    assert "lost events" in rest
    assert "unknown codes" in rest


def test_what_there_is_room_for_is_shown_with_how_many_more_there_are() -> None:
    lines = _lines(edges=[EDGE | {"level": "stream"}] * 30, shards=[SHARD] * 4)

    assert "  26 more: reftide status --json" in lines
    assert sum(line.startswith("  e ") for line in lines) == 4
    assert not any(line.startswith("In reftide") for line in lines)


def test_long_texts_leave_room_for_what_stands_beside_them() -> None:
    lines = _lines(unknown_codes=[CODE])

    row = lines[-1]
    assert len(row) <= 100
    assert row.split()[1] == "9"
    assert "reftide links unknown" in lines[-3]


def test_a_loss_is_explained_below_its_table() -> None:
    said = " ".join(_lines(losses=[LOSS]))

    assert "or more than edges remember, make this a range." in said
    assert "`reftide replay --from 2026-03-01T11:00:00Z`" in said
