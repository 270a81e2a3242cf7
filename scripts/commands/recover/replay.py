"""`reftide replay`: record events again from the streams and the archive."""

import asyncio
import sys
import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final
from uuid import UUID

import click
from redis.asyncio import Redis

from scripts.environment import Environment
from scripts.output import Report, counted, facts, is_quiet, reporting
from scripts.parameters import dry_run, until, when
from scripts.servers import Connection, postgres, redis_server, shard_numbers
from scripts.services.recover import replays
from workers.replay.request import ReplayRequest

_POLL_SECONDS: Final = 0.3


@click.command(
    epilog="""\b
A replay finds events by when an edge accepted them, as long as a stream or the archive
holds them. It inserts what is missing and changes nothing else, however often it runs; it
leaves to the workers what still waits for them. With --mode reprocess it also resolves and
enriches recorded events again, corrects rows and counters by the difference, and records
what quarantine holds, if it can. An event that no longer resolves stays as it is.
Exit code 1 if segments of the archive were damaged: they are listed, the rest is replayed.

\b
  reftide replay --from 2026-03-01T10:00 --to 2026-03-01T12:30 --dry-run
  reftide replay --from 2h --rate 2000
  reftide replay --from 30d --link SUMMER --mode reprocess

\b
The workers do it, and go on if this command is stopped (Ctrl-C): see `reftide replays`.
"""
)
@when("--from", "since")
@until()
@click.option("--kind", type=click.Choice(replays.KINDS), help="Only these events.")
@click.option(
    "--dialect", type=click.Choice(replays.DIALECTS_NAMED), help="Only these events."
)
@click.option("--workspace", metavar="NAME", help="Whose.")
@click.option("--link", metavar="CODE", help="Only of this link: a code or public id.")
@click.option("--domain", metavar="DOMAIN", help="Of the link's code.")
@click.option(
    "--partner", metavar="CODE", help="Only of this partner: a code or public id."
)
@click.option(
    "--event", "event_id", type=click.UUID, metavar="ID", help="Only this event."
)
@click.option(
    "--mode",
    type=click.Choice(["missing", "reprocess"]),
    default="missing",
    help="Only insert what is missing, or correct what is recorded too.",
)
@click.option(
    "--rate",
    type=click.IntRange(1, 1_000_000),
    help="Events a second at most, over all workers. Without it, as many as live traffic leaves"
    " room for.",
)
@dry_run
@reporting
async def command(environment: Environment, /, **asked: Any) -> Report:
    """Record events again from the streams and the archive; none is recorded twice."""
    if asked["since"] is None and asked["event_id"] is None:
        raise click.UsageError("say from when: --from 2h, or name one --event")
    async with postgres(environment) as connection, redis_server(environment) as redis:
        request = await replays.requested(connection, asked)
        await _tell_horizon(connection, request)
        shards = await shard_numbers(environment, redis)
        replay_id = await replays.order(connection, asked["mode"], request, shards)
        if not await replays.has_workers(redis):
            click.echo("No worker is alive. The replay starts when one is.", err=True)
        try:
            done = await _followed(connection, redis, replay_id, shards)
        except (asyncio.CancelledError, KeyboardInterrupt):
            click.echo(
                f"The replay goes on: see `reftide replays show {replay_id}`. To stop it:"
                f" `reftide replays cancel {replay_id}`.",
                err=True,
            )
            raise click.exceptions.Exit from None
    if done["status"] == "paused":
        click.echo(
            f"The replay is paused: look for `replay.paused` in the workers' logs, then run"
            f" `reftide replays resume {done['id']}`.",
            err=True,
        )
    is_whole = done["status"] == "done" and not done["damaged_segments"]
    return Report(done, partial(_show, done), int(not is_whole))


async def _followed(
    connection: Connection, redis: Redis, replay_id: UUID, shards: Sequence[int]
) -> dict[str, Any]:
    """What came of a replay; until it ends, how far it is."""
    began = time.monotonic()
    with click.progressbar(
        length=1,
        label="replay",
        file=sys.stderr,
        hidden=is_quiet() or not sys.stderr.isatty(),
        show_pos=True,
        item_show_func=str,
    ) as bar:
        while True:
            replay = await replays.read(connection, replay_id)
            lag = await replays.live_lag(redis, shards)
            rate = replay["read"] / max(1e-3, time.monotonic() - began)
            bar.length = max(1, replay["expected"])
            bar.update(
                replay["read"] - bar.pos, f"{rate:,.0f}/s, live lag {lag:,.1f} s"
            )
            if replay["status"] != "running":
                return replays.summary(replay)
            await asyncio.sleep(_POLL_SECONDS)


async def _tell_horizon(connection: Connection, request: ReplayRequest) -> None:
    """What is of a time whose partition is detached cannot be told from what is new."""
    if horizon := await replays.refused_until(connection, request):
        click.echo(
            f"Events from before {horizon:%Y-%m-%d} will be refused and counted: their"
            " partitions are detached.",
            err=True,
        )


def _show(done: Mapping[str, Any]) -> None:
    segments = done["damaged_segments"]
    hidden = ("dry_run",) if segments else ("dry_run", "damaged", "damaged_segments")
    shown = {name: value for name, value in done.items() if name not in hidden}
    title = "Dry run: nothing was changed" if done["dry_run"] else "Replay"
    facts(shown, title)
    if done["seconds"] and done["read"]:
        read, rate = done["read"], done["read"] / done["seconds"]
        click.echo(f"{counted(read, 'entry', 'entries')} read, {rate:,.0f} a second.")
    if segments:
        click.echo(
            f"{counted(len(segments), 'segment')} of the archive cannot be read, with"
            f" {counted(done['damaged'], 'entry', 'entries')} or more. Put a copy of"
            f" {'it' if len(segments) == 1 else 'them'} into the archive, see `reftide archive"
            " verify`, and replay again."
        )
