"""The status on one screen of 100 columns and 40 lines. Pure: a status in, lines out.

The answers come first. Tables that do not fit below them are named, and `--json` has them.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC
from operator import itemgetter
from textwrap import fill, wrap
from typing import Any, Final, NamedTuple

from ingest.contracts.checkups.checkup import size
from scripts.output import cell, counted, printable
from scripts.services.observe.answers import answers, lost_for_people

Status = Mapping[str, Any]

#: The last line is the shell's.
_LINES: Final = 39
_WIDTH: Final = 100
#: Of a table: rows, and characters of a cell; an id has 36.
_ROWS: Final = 4
_CELL: Final = 36
_QUESTION: Final = 20
_LEFT: Final = 34

#: What can be known of a stream that is gone, and what not.
_ENDED: Final = (
    "Missing are entries that workers or live edges counted in such a stream and that the"
    " ledger does not have. `reftide replay` records those that the archive holds. Nothing"
    " tells what an edge that is gone appended between counted at and ended at."
)

_NO_ROOM: Final = (
    "Clients caused more entries than quarantine has room for: see `reftide quarantine"
    " list`. `reftide replay` records those that can be resolved by now."
)


class _Table(NamedTuple):
    """A list of the status, where it has rows; what is said below it."""

    name: str
    columns: Sequence[str]
    title: str = ""
    note: str = ""


#: The most important first.
_TABLES: Final = (
    _Table(
        "losses", ("shard", "epoch", "lost", "at_most", "since", "until"), "Lost events"
    ),
    _Table(
        "ended",
        ("shard", "epoch", "entries", "settled", "missing", "counted_at", "ended_at"),
        "Streams that were lost",
        _ENDED,
    ),
    _Table(
        "stream_servers",
        ("server", "shards", "entries", "memory_bytes", "memory_limit_bytes", "problem"),
        "Servers of streams",
    ),
    _Table("edges", ("edge", "level", "level_since", "spool_bytes", "why")),
    _Table(
        "unknown_codes",
        ("code", "count", "suggestion", "host", "last_seen"),
        "Unknown codes: reftide links unknown",
    ),
    _Table(
        "dropped",
        ("reason", "entries", "first", "latest"),
        "Quarantined and not kept",
        _NO_ROOM,
    ),
    _Table("uploads", ("store", "waiting", "oldest_seconds", "failing_seconds"), "Uploads"),
    _Table(
        "replays",
        ("id", "mode", "status", "read", "expected", "scanned", "inserted", "changed"),
        "Replays",
    ),
    _Table(
        "shards",
        (
            "shard", "epoch", "length", "undelivered", "pending", "in_flight",
            "lag_seconds", "oldest_pending_seconds",
        ),
    ),
    _Table(
        "shares",
        ("level", "kept", "most", "workspace", "named"),
        "Largest shares of quarantine",
    ),
)  # fmt: skip


def screen(status: Status) -> Iterator[str]:
    """The lines, without their ends."""
    lines = [
        f"Reftide at {cell(status['at'])}",
        "",
        *_answers(status),
        "",
        *_figures(status),
    ]
    notes, left = list(_notes(status)), []
    for table in _TABLES:
        drawn = list(_drawn(table, status))
        # Below it there may be a line of what did not fit, and the notes.
        if len(lines) + len(drawn) + len(notes) + 2 <= _LINES:
            lines += drawn
        elif drawn:
            left.append((table.title or table.name).partition(":")[0].lower())
    yield from lines
    if left or notes:
        yield ""
    if left:
        yield f"In reftide status --json: {', '.join(left)}"[:_WIDTH]
    yield from notes


def _answers(status: Status) -> Iterator[str]:
    indent = " " * _QUESTION
    for question, said in answers(status).items():
        wrapped = [
            fill(
                printable(one),
                _WIDTH,
                initial_indent=indent,
                subsequent_indent=indent,
                max_lines=3,
                placeholder=" …",
            )
            for line in said
            for one in line.split("\n")
        ]
        text = "\n".join(wrapped)
        yield from f"{question:<{_QUESTION}}{text[_QUESTION:]}".split("\n")


def _figures(status: Status) -> Iterator[str]:
    left, right = _ledger(status), _rest(status)
    for (name, value), (other, more) in zip(left.items(), right.items(), strict=True):
        pair = f"  {name:<12}  {value:>16}".ljust(_LEFT)
        yield f"{pair}  {other:<20}  {more}"[:_WIDTH]


def _notes(status: Status) -> Iterator[str]:
    if (last := status["last_known"]) and not all(status["reachable"].values()):
        yield f"In brackets: at {cell(last['at'])}, when all servers answered."
    if status["is_still"] is False:
        yield "Events moved while this was read: the figures are moments apart."
    if status["is_exact"] is False:
        yield "The backlog is large: what is in flight is taken from counters."


def _drawn(table: _Table, status: Status) -> Iterator[str]:
    """A few rows in a line each; a column that none of them has is left out."""
    rows: Sequence[Status] = status[table.name]
    if not rows:
        return
    if table.name == "shards":
        rows = sorted(rows, key=itemgetter("lag_seconds"), reverse=True)
    told = [
        name for name in table.columns if any(row.get(name) is not None for row in rows)
    ]
    lines = [[name.replace("_", " ") for name in told]]
    lines += [_cells([row.get(name) for name in told]) for row in rows[:_ROWS]]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    yield ""
    if table.title:
        yield table.title
    for line in lines:
        texts = (text.ljust(width) for text, width in zip(line, widths, strict=True))
        yield f"  {'  '.join(texts)}"[:_WIDTH].rstrip()
    if len(rows) > _ROWS:
        yield f"  {len(rows) - _ROWS} more: reftide status --json"
    note = _what_is_lost(rows) if table.name == "losses" else table.note
    yield from wrap(note, _WIDTH)


def _cells(values: Sequence[object]) -> list[str]:
    """All but the last are cut, so that each column has room."""
    *texts, last = (cell(value).replace("\n", " ") for value in values)
    cut = [text if len(text) <= _CELL else f"{text[: _CELL - 1]}…" for text in texts]
    return [*cut, last]


def _what_is_lost(losses: Sequence[Status]) -> str:
    """How sure that is, and the command that brings back what the archive has."""
    said = ["They were answered and are not recorded."]
    if any(each["at_most"] is None for each in losses):
        said.append(
            "Without a figure under at most, an edge died in the seconds before, and no"
            " other has told what it appended: start one on its data directory."
        )
    elif any(each["at_most"] > each["lost"] for each in losses):
        said.append(
            "Appends that were never answered, or more than edges remember, make this a"
            " range."
        )
    dates = [each["since"] for each in losses if each["since"]]
    since = f"{min(dates).astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}" if dates else "T"
    said.append(f"What the archive has comes back: `reftide replay --from {since}`.")
    return " ".join(said)


def _ledger(status: Mapping[str, Any]) -> dict[str, str]:
    counts = (
        "accepted", "recorded", "repeats", "quarantined", "lost", "in_flight", "spooled",
        "balance",
    )  # fmt: skip
    last = status["last_known"] or {}
    shown = {
        name.replace("_", " "): f"({last[name]:,.0f})"
        if status[name] is None and name in last
        else _number(status[name])
        for name in counts
    }
    if status["lost"] is not None:
        shown["lost"] = lost_for_people(status["lost"], status["lost_at_most"])
    return shown


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:,}"


def _rest(status: Mapping[str, Any]) -> dict[str, str]:
    lag, workers = status["lag_seconds"], _number(status["workers"])
    names = ", ".join(status["worker_names"])
    return {
        "lag": "unknown" if lag is None else f"{lag:,.1f} s",
        "accepted per second": _number(status["accepted_per_second"]),
        "recorded per second": _number(status["recorded_per_second"]),
        "redis memory": _memory(status),
        "room for": _room(status),
        "spool": _spool(status),
        "workers": f"{workers} ({printable(names)})" if names else workers,
        "archive": _archive(status["archive"], is_known=status["reachable"]["redis"]),
    }


def _room(status: Mapping[str, Any]) -> str:
    hours = {"memory": status["hours_left"], "disks": status["spool_hours_left"]}
    told = [f"{left:,.1f} hours in {where}" for where, left in hours.items() if left]
    return ", ".join(told) or "unknown: nothing comes in"


def _spool(status: Mapping[str, Any]) -> str:
    kept, limit = size(status["spool_bytes"]), status["spool_limit_bytes"]
    of = f" of {size(limit)}" if limit else ""
    return f"{kept}{of}, {size(status['disk_free_bytes'])} free here"


def _archive(archive: Mapping[str, Any] | None, *, is_known: bool) -> str:
    if archive is None:
        return "none" if is_known else "unknown"
    entries = counted(archive["entries"], "entry", "entries")
    return f"{archive['lag_seconds']:,.1f} s behind, {entries} to be finished"


def _memory(status: Mapping[str, Any]) -> str:
    used, limit = status["redis_memory_bytes"], status["redis_memory_limit_bytes"]
    each = status["bytes_per_event"]
    if used is None:
        return "unknown"
    event = f", {size(each)} an event" if each else ""
    return size(used) + (f" of {size(limit)}" if limit else ", without a limit") + event
