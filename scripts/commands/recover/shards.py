"""`reftide shards`: which shards there are; another number or place of them."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import click

from scripts.environment import Environment
from scripts.output import Report, cell, counted, reporting, table, tell
from scripts.servers import postgres
from scripts.services.shards.changing import Change, Changer, plan
from scripts.services.shards.leftovers import open_left
from scripts.services.shards.overview import overview
from scripts.services.shards.sides import (
    at_present,
    reached,
    read_record,
    to_be,
)

_COLUMNS = ("shard", "tag", "slot", "server", "entries", "in_flight", "sealed")
_MOST = 1024


@click.command(
    epilog="""\b
A change needs no stop. Shards that will not be take no more events, and workers record what
they have; meanwhile edges use the other shards, or their disks if there are none, and answer
as before. Workers and edges start with the new settings only once the command is done, and
those that run go on until they are restarted: edges with shards that are still read, or with
their disks; workers end if the streams went elsewhere, once the command is done.

\b
If the command is stopped, run it again: it goes on. Until it says that the new shards are
agreed on, `--to` with the former number takes it back.

\b
  reftide shards
  reftide shards --to 8 --dry-run
  reftide shards --to 12 --streams-url redis+cluster://a:6379,b:6379

\b
Exit codes: 0 done; 1 it is not safe, or what is in the shards was not recorded in time; 2
another change is under way, or a setting is wrong; 3 a server is away.
"""
)
@click.option(
    "--to", "shards", type=click.IntRange(1, _MOST), help="How many there are to be."
)
@click.option(
    "--streams-url",
    metavar="URL",
    help="Where they are to be, as STREAMS_URL; REDIS_URL's text for where that leads.",
)
@click.option(
    "--drop-entries",
    is_flag=True,
    help="Go on without an archive: replays cannot read what shards that go have.",
)
@click.option(
    "--wait",
    type=click.FloatRange(0),
    default=600.0,
    metavar="SECONDS",
    help="How long what is in the shards may take to be recorded.",
)
@click.option(
    "--dry-run", is_flag=True, help="Say what there is to do, and do nothing."
)
@reporting
async def command(
    environment: Environment,
    /,
    shards: int | None,
    streams_url: str | None,
    **asked: Any,
) -> Report:
    """Show the shards of the streams; with --to, change their number or where they are.

    STREAMS_URL is where they are now. If they are where REDIS_URL leads, it may be where they
    are to go.
    """
    record = await read_record(environment)
    present, is_placed = at_present(environment, record), record.change is None
    if shards is None:
        if streams_url is not None:
            raise click.UsageError("--streams-url needs --to.")
        async with reached(present, is_placed=is_placed) as side:
            found = await overview(side, record)
        return Report(found, lambda: _show(found))
    target = to_be(environment, shards, streams_url)
    async with (
        reached(present, is_placed=is_placed) as side,
        reached(target, is_placed=False) as other,
    ):
        return await _changed(Change(side, other, record), environment, **asked)


async def _changed(change: Change, environment: Environment, **asked: Any) -> Report:
    """What became of a change, or would."""
    async with postgres(environment) as connection:
        drops = bool(asked["drop_entries"])
        found = await plan(change, connection, has_them_dropped=drops)
        if asked["dry_run"]:
            lines = _none(found) if change.is_none else _planned(found)
            return Report({**found, "is_done": False, "removed": 0}, lines)
        if change.is_none:
            side = change.present
            found["opened"] = await open_left(side.redis, side.layout.numbers)
            document = {**found, "is_done": bool(found["opened"]), "removed": 0}
            return Report(document, _opened(found) or _none(found))
        changer = Changer(change, connection, tell)
        if change.is_back:
            await changer.take_back()
            document = {**found, "is_done": True, "removed": 0}
            return Report(document, f"Taken back: there are {found['to']} shards.")
        removed = await changer.run(environment.clock(), asked["wait"])
    return Report({**found, "is_done": True, "removed": removed}, _done(found, removed))


def _show(found: Mapping[str, Any]) -> None:
    table(found["shards"], _COLUMNS)
    who = {"worker": found["workers"], "edge": found["edges"]}
    running = [
        f"{counted(count, kind)} with {shards}"
        for kind, known in who.items()
        for shards, count in known.items()
    ]
    click.echo(
        f"Agreed on in Redis: {found['agreed']}. Running: {', '.join(running) or 'nobody'}."
    )
    if change := found["change"]:
        since = datetime.fromtimestamp(change["since"], UTC)
        click.echo(
            f"A change from {change['from']} to {change['to']} is under way since"
            f" {cell(since)}: run the command that began it again."
        )
    if left := ", ".join(map(str, found["left_sealed"])):
        click.echo(
            f"Sealed, although no change is under way: {left}. A command was killed while its"
            f" change was taken back; `reftide shards --to {found['count']}` opens them."
        )


def _opened(found: Mapping[str, Any]) -> str:
    opened = ", ".join(map(str, found["opened"]))
    return opened and f"Opened again: {opened}. There are {found['to']} shards."


def _none(found: Mapping[str, Any]) -> str:
    if sealed := ", ".join(map(str, found["opened"])):
        return f"To be opened again: {sealed}. There are {found['to']} shards."
    return f"There is nothing to do: there are {found['to']} shards."


def _planned(found: Mapping[str, Any]) -> str:
    return "\n".join(
        [
            f"From {found['from']} to {found['to']}.",
            f"To be sealed: {', '.join(map(str, found['sealed'])) or 'none'}.",
            f"To be recorded first: {counted(found['in_flight'], 'entry', 'entries')}.",
            f"To be deleted then: {counted(found['kept'], 'entry', 'entries')}.",
        ]
    )


def _done(found: Mapping[str, Any], removed: int) -> str:
    number = found["settings"]["REFTIDE_SHARDS"]
    return (
        f"There are {found['to']} shards; {counted(removed, 'entry', 'entries')} deleted.\n"
        f"Restart workers and edges, workers first, with REFTIDE_SHARDS={number} and STREAMS_URL"
        " of the new place; `reftide up` finds the number itself."
    )
