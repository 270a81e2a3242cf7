"""`reftide status`: the ledger, the lag, the workers, and how long the memory lasts."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from datetime import UTC
from functools import partial
from operator import itemgetter
from textwrap import fill
from typing import Any, Final

import click

from ingest.contracts.checkups.checkup import size
from scripts.environment import Environment
from scripts.errors import Unreachable
from scripts.output import cell, counted, emit, json_option, printable, table
from scripts.services.observe.answers import answers, lost_for_people
from scripts.services.observe.findings import find
from scripts.services.observe.status import read_status

_EDGE_COLUMNS: Final = ("edge", "level", "level_since", "spool_bytes", "why")
_SHARD_COLUMNS: Final = (
    "shard", "epoch", "length", "undelivered", "pending", "in_flight", "lag_seconds",
    "oldest_pending_seconds",
)  # fmt: skip
_DROPPED_COLUMNS: Final = ("reason", "entries", "first", "latest")
#: What is shown where there is any, in columns, under a title.
_TABLES: Final = (
    ("uploads", ("store", "waiting", "oldest_seconds", "failing_seconds"), "Uploads"),
    ("replays",
     ("id", "mode", "status", "read", "expected", "scanned", "inserted", "changed"),
     "Replays"),
    ("shares", ("level", "kept", "most", "workspace", "named"),
     "Largest shares of quarantine"),
    ("unknown_codes", ("host", "code", "count", "first_seen", "last_seen", "suggestion"),
     "Unknown codes"),
)  # fmt: skip
#: All of it is one screen: so many rows of the most interesting.
_ROWS: Final = 4
_WIDTH: Final = 100
_QUESTION: Final = 20
_LEFT: Final = 34
_LOSS_COLUMNS: Final = ("shard", "epoch", "lost", "at_most", "since", "until")
_ENDED_COLUMNS: Final = (
    "shard", "epoch", "entries", "settled", "missing", "counted_at", "ended_at",
)  # fmt: skip

#: What can be known of a stream that is gone, and what not.
_LOST: Final = (
    "Missing are entries that workers or live edges counted in such a stream and that the"
    " ledger does not have. `reftide replay` records those that the archive holds. Nothing"
    " tells what an edge that is gone appended between counted at and ended at."
)

_NO_ROOM: Final = (
    "Clients caused more entries than quarantine has room for: see `reftide quarantine"
    " list`. `reftide replay` records those that can be resolved by now."
)


@click.command(
    epilog="""\b
The balance is accepted - recorded - repeats - quarantined - lost - in flight -
spooled. At rest it is 0; `reftide verify` checks it. While events flow, it may be a
little below 0: what is committed but not yet acknowledged counts twice.
Spooled events wait on the disks of edges that share this data directory.
Lost events left their stream before a worker recorded them.
Edges and workers are asked on their admin ports, which REFTIDE_DATA has of those on
this machine, and REFTIDE_ADMIN_URLS of others.
Exit codes: 0 all is well; 1 something is wrong; 3 a server is away.

\b
  reftide status --json | jq .lag_seconds
"""
)
@click.option(
    "--window",
    type=click.FloatRange(0, 60),
    default=0.25,
    help="Seconds over which throughput is measured; 0: do not.",
)
@click.option(
    "--watch",
    type=click.FloatRange(0.5),
    metavar="SECONDS",
    help="Show it again after so many seconds, until Ctrl-C.",
)
@json_option
@click.pass_context
def command(
    context: click.Context, window: float, watch: float | None, *, as_json: bool
) -> None:
    """Say whether anything is lost, since when, how far behind, what to do, and if it is over.

    Below that: the ledger, memory, spools, edges and shards. A server that is away hides
    what only it knows, and nothing else.
    """
    environment: Environment = context.obj
    if watch and as_json:
        raise click.UsageError("--json prints one document: leave out --watch.")
    answered: dict[str, Any] = {}
    while True:
        status = asyncio.run(read_status(environment, window))
        _remember(answered, status)
        if watch:
            click.clear()
        emit(as_json, status, partial(_show, status))
        if not watch:
            context.exit(_exit_code(status))
        time.sleep(watch)


def _exit_code(status: Mapping[str, Any]) -> int:
    if not all(status["reachable"].values()):
        return Unreachable.exit_code
    return int(bool(status["findings"]))


def _remember(answered: dict[str, Any], status: dict[str, Any]) -> None:
    """Who keeps watching knows itself when a server last answered."""
    for server, is_reachable in status["reachable"].items():
        if is_reachable:
            answered[server] = status["at"]
        elif server in answered:
            known = status["answered_at"][server]
            status["answered_at"][server] = max(
                known or answered[server], answered[server]
            )
    if not all(status["reachable"].values()):
        status["findings"] = find(status)


def _show(status: Mapping[str, Any]) -> None:
    click.echo(f"Reftide at {cell(status['at'])}\n")
    for question, lines in answers(status).items():
        click.echo(_answer(question, lines))
    click.echo()
    left, right = _ledger(status), _rest(status)
    for (name, value), (other, more) in zip(left.items(), right.items(), strict=True):
        pair = f"  {name:<12}  {value:>16}".ljust(_LEFT)
        click.echo(f"{pair}  {other:<20}  {more}"[:_WIDTH])
    _show_rows(status["edges"], _EDGE_COLUMNS)
    by_lag = sorted(status["shards"], key=itemgetter("lag_seconds"), reverse=True)
    _show_rows(by_lag, _SHARD_COLUMNS)
    for name, columns, title in _TABLES:
        if status[name]:
            table(status[name], columns, title)
    _show_what_went(status)
    if (last := status["last_known"]) and not all(status["reachable"].values()):
        click.echo(f"\nIn brackets: at {cell(last['at'])}, when both servers answered.")
    if status["is_still"] is False:
        click.echo("Events moved while this was read: the figures are moments apart.")
    if status["is_exact"] is False:
        click.echo("The backlog is large: what is in flight is taken from counters.")


def _answer(question: str, lines: Sequence[str]) -> str:
    indent = " " * _QUESTION
    paragraphs = [part for line in lines for part in line.split("\n")]
    wrapped = [
        fill(
            printable(one),
            _WIDTH,
            initial_indent=indent,
            subsequent_indent=indent,
            max_lines=3,
            placeholder=" …",
        )
        for one in paragraphs
    ]
    return question.ljust(_QUESTION) + "\n".join(wrapped)[_QUESTION:]


def _show_rows(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """A few rows in a line each; a column that none of them has is left out."""
    if not rows:
        return
    told = [name for name in columns if any(row.get(name) is not None for row in rows)]
    lines = [[name.replace("_", " ") for name in told]]
    lines += [[cell(row.get(name)) for name in told] for row in rows[:_ROWS]]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    click.echo()
    for line in lines:
        texts = (text.ljust(width) for text, width in zip(line, widths, strict=True))
        click.echo(f"  {'  '.join(texts)}"[:_WIDTH].rstrip())
    if len(rows) > _ROWS:
        click.echo(f"  {len(rows) - _ROWS} more: reftide status --json")


def _show_what_went(status: Mapping[str, Any]) -> None:
    if status["losses"]:
        table(status["losses"], _LOSS_COLUMNS, "Lost events")
        click.echo(_what_is_lost(status["losses"]))
    if status["ended"]:
        table(status["ended"], _ENDED_COLUMNS, "Streams that were lost")
        click.echo(_LOST)
    if status["dropped"]:
        table(status["dropped"], _DROPPED_COLUMNS, "Quarantined and not kept")
        click.echo(_NO_ROOM)


def _what_is_lost(losses: Sequence[Mapping[str, Any]]) -> str:
    """How sure that is, and the command that brings back what the archive has."""
    said = ["They were answered and are not recorded."]
    if any(each["at_most"] is None for each in losses):
        said.append(
            "Without a figure under at most, an edge died in the seconds before: nobody"
            " knows how much it appended."
        )
    elif any(each["at_most"] > each["lost"] for each in losses):
        said.append("Appends that were never answered make this a range.")
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
