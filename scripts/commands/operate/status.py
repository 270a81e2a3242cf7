"""`reftide status`: the ledger, the lag, the workers, and how long the memory lasts."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from datetime import UTC
from functools import partial
from typing import Any, Final

import click

from ingest.contracts.checkups.checkup import EDGE, size
from scripts.environment import Environment
from scripts.output import cell, counted, emit, facts, json_option, table
from scripts.services.maintain.edges import untrusted_forwarders
from scripts.services.observe.status import read_status

_SHARD_COLUMNS: Final = (
    "shard", "epoch", "length", "entries_added", "undelivered", "pending", "in_flight",
    "lag_seconds", "oldest_pending_seconds",
)  # fmt: skip
_DROPPED_COLUMNS: Final = ("reason", "entries", "first", "latest")
#: What is shown where there is any, in columns, under a title.
_TABLES: Final = (
    ("edges", ("edge", "level", "why", "spool_bytes"), "Edges"),
    ("uploads", ("store", "waiting", "oldest_seconds", "failing_seconds"), "Uploads"),
    ("replays",
     ("id", "mode", "status", "read", "expected", "scanned", "inserted", "changed"),
     "Replays"),
    ("shares", ("level", "kept", "most", "workspace", "named"),
     "Largest shares of quarantine"),
    ("unknown_codes", ("host", "code", "count", "first_seen", "last_seen", "suggestion"),
     "Unknown codes"),
)  # fmt: skip
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

\b
  reftide status --json | jq .lag_seconds
"""
)
@click.option(
    "--window",
    type=click.FloatRange(0, 60),
    default=1.0,
    help="Seconds over which throughput is measured; 0: do not.",
)
@click.option(
    "--watch",
    type=click.FloatRange(0.5),
    metavar="SECONDS",
    help="Show it again after so many seconds, until Ctrl-C.",
)
@json_option
@click.pass_obj
def command(
    environment: Environment, window: float, watch: float | None, *, as_json: bool
) -> None:
    """Show the ledger, the lag of every shard, the workers and the memory."""
    if watch and as_json:
        raise click.UsageError("--json prints one document: leave out --watch.")
    while True:
        status = asyncio.run(read_status(environment, window))
        if watch:
            click.clear()
        emit(as_json, status, partial(_show, status))
        if not watch:
            return
        time.sleep(watch)


def _show(status: Mapping[str, Any]) -> None:
    facts(_for_people(status), "Reftide")
    table(status["shards"], _SHARD_COLUMNS, "Shards")
    for name, columns, title in _TABLES:
        if status[name]:
            table(status[name], columns, title)
    _show_what_went(status)
    _show_what_to_do(status)


def _show_what_to_do(status: Mapping[str, Any]) -> None:
    if not status["is_still"]:
        click.echo("Events moved while this was read: the figures are moments apart.")
    if not status["is_exact"]:
        click.echo("The backlog is large: what is in flight is taken from counters.")
    if paused := status["paused"]:
        click.echo(
            f"Recording is paused since {cell(paused['paused_at'])}:"
            f" {cell(paused['detail'])}. Fix it, then `reftide resume`."
        )
    for check in EDGE.judge({"proxies": untrusted_forwarders(status["edges"])}):
        if check.advice:
            click.echo(f"Edges: {cell(check.found)}. Advice: {cell(check.advice)}.")
    if not status["workers"]:
        click.echo("No worker is alive: run `reftide worker` (or `reftide up`).")


def _show_what_went(status: Mapping[str, Any]) -> None:
    for one in status["uploads"]:
        if why := one["why"]:
            click.echo(f"Segments of {one['archive']} are not uploaded: {why}.")
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


def _for_people(status: Mapping[str, Any]) -> dict[str, object]:
    counts = (
        "accepted", "recorded", "repeats", "quarantined", "lost", "in_flight", "spooled",
    )  # fmt: skip
    rates = ("accepted_per_second", "recorded_per_second")
    each, hours = status["bytes_per_event"], status["hours_left"]
    names = ", ".join(status["worker_names"])
    return {
        **{name: f"{status[name]:,}" for name in counts},
        "lost": _lost_for_people(status["lost"], status["lost_at_most"]),
        "balance": status["balance"],
        "lag": f"{status['lag_seconds']:,.1f} s",
        **{name: status[name] for name in rates},
        "redis_memory": _memory_for_people(status),
        "an_event_takes": None if each is None else size(each),
        "room_for": None if hours is None else f"{hours:,.1f} more hours at this rate",
        "workers": f"{status['workers']} ({names})" if names else status["workers"],
        "archive": _archive_for_people(status["archive"]),
    }


def _lost_for_people(lost: int, at_most: int | None) -> str:
    if at_most is None:
        return f"{lost:,} or more"
    return f"{lost:,}" if at_most == lost else f"{lost:,} to {at_most:,}"


def _archive_for_people(archive: Mapping[str, Any] | None) -> str | None:
    if archive is None:
        return None
    return (
        f"{archive['lag_seconds']:,.1f} s behind,"
        f" {counted(archive['entries'], 'entry', 'entries')} to be finished"
    )


def _memory_for_people(status: Mapping[str, Any]) -> str:
    limit = status["redis_memory_limit_bytes"]
    used = size(status["redis_memory_bytes"])
    return f"{used} of {size(limit)}" if limit else f"{used}, without a limit"
