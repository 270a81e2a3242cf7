"""`reftide event`: find one event."""

from collections.abc import Mapping, Sequence
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
_CANDIDATES: Final = ("at", "link", "partner", "program", "verdict", "click")
_SEVERAL: Final = (
    "at", "kind", "state", "found_by", "link", "partner", "customer", "name", "id",
)  # fmt: skip

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
    "unknown": "Nothing is known of it. An id is a UUID, a click id, a test's eventId, or what"
    " a client calls it: see --help.",
}


@click.command(
    epilog="""\b
ID is an event's UUID, a click id (clk_... or another vendor's), the eventId of a test
event; or what a client calls it: the external id or e-mail address of its customer, its
session, invoice, or the Idempotency-Key that it came with beside an API key:
  reftide event 01890a5d-ac96-774b-bcce-b302099a8057
  reftide event user_123

\b
Events that have the same name are listed. Of a lead or sale it says which clicks it may
be earned by, and why one of them earned it. Exit code 1 if the event is unknown.
"""
)
@click.argument("event_id", metavar="ID")
@click.option("--workspace", metavar="NAME", help="Whose; by default anybody's.")
@reporting
async def command(
    environment: Environment, event_id: str, workspace: str | None
) -> Report:
    """Find an event: spooled, in flight, recorded, repeated, quarantined, erased, or unknown."""
    traced = await trace(environment, event_id, workspace)
    if traced["state"] == "several":
        return Report(traced, partial(_show_several, traced["events"]))
    is_lost = traced["state"] in {"unknown", "missing", "detached"}
    return Report(traced, partial(_show, event_id, traced), int(is_lost))


def _show(asked: str, traced: Mapping[str, Any]) -> None:
    click.echo(printable(f"Event {traced['id'] or asked}"))
    click.echo(printable(_SENTENCES[traced["state"]].format(**traced)))
    for part, title in (("event", "Recorded"), ("entry", "On its stream")):
        if traced[part]:
            facts(traced[part], title)
    for part, columns, title in _TABLES:
        if traced[part]:
            table(traced[part], columns, title)
    if why := traced["attribution"]:
        click.echo(printable(why["why"]))
        if why["candidates"]:
            table(why["candidates"], _CANDIDATES, "The clicks that it may be earned by")


def _show_several(events: Sequence[Mapping[str, Any]]) -> None:
    table(events, _SEVERAL)
    click.echo(f"{len(events)} events. For more of one: `reftide event ID`.")
