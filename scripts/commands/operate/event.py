"""`reftide event`: find one event."""

from collections.abc import Mapping
from functools import partial
from typing import Any, Final

import click

from scripts.environment import Environment
from scripts.output import Report, facts, printable, reporting, table
from scripts.services.find.event_lookup import trace

_ENTRY: Final = (
    "epoch", "shard", "entry_ms", "entry_seq", "entry_index", "recorded_at",
)  # fmt: skip
_QUARANTINE: Final = ("id", "reason", "detail", "status", "attempts", "last_seen")
_HISTORY: Final = ("at", "quarantine_id", "who", "action", "note")
_TABLES: Final = (
    ("repeats", _ENTRY, "It came again"),
    ("quarantine", _QUARANTINE, "Quarantine"),
    ("history", _HISTORY, "What was done about it"),
)

_SENTENCES: Final = {
    "recorded": "It is recorded.",
    "erased": "It is recorded and counts; whose it was is erased.",
    "repeat": "It was another event again: {repeat_of}.",
    "quarantined": "It could not be recorded; see `reftide quarantine show ID`.",
    "dropped": "It could not be recorded, and quarantine had no room to keep it: see"
    " `reftide quarantine list`. A replay records it once it can be placed.",
    "spooled": "It waits on an edge's disk until its stream takes it: {spool}.",
    "in_flight": "It is on its stream and waits for a worker.",
    "missing": "Its entry is acknowledged, yet nothing is recorded: run `reftide verify`.",
    "detached": "Its month is detached: see `reftide partitions list`. It is in that table,"
    " or came too late for it.",
    "unknown": "Nothing is known of it.",
}


@click.command(
    epilog="""\b
ID is an event's UUID, a click id (clk_...) or the eventId of a test event:
  reftide event 01890a5d-ac96-774b-bcce-b302099a8057
Exit code 1 if the event is unknown.
"""
)
@click.argument("event_id", metavar="ID")
@reporting
async def command(environment: Environment, event_id: str) -> Report:
    """Find an event: spooled, in flight, recorded, repeated, quarantined, erased, or unknown."""
    traced = await trace(environment, event_id)
    is_lost = traced["state"] in {"unknown", "missing", "detached"}
    return Report(traced, partial(_show, traced), int(is_lost))


def _show(traced: Mapping[str, Any]) -> None:
    click.echo(f"Event {traced['id'] or ''}".rstrip())
    click.echo(printable(_SENTENCES[traced["state"]].format(**traced)))
    for part, title in (("event", "Recorded"), ("entry", "On its stream")):
        if traced[part]:
            facts(traced[part], title)
    for part, columns, title in _TABLES:
        if traced[part]:
            table(traced[part], columns, title)
