"""`reftide replay`: record again what streams and archive hold."""

import asyncio
from collections.abc import Mapping
from contextlib import nullcontext
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import click

from ingest.contracts import ids
from ingest.contracts.envelope import Kind
from ingest.dialects import DIALECTS
from scripts.environment import Environment
from scripts.errors import UsageProblem
from scripts.output import counted, emit, facts, json_option
from scripts.parameters import Moment
from scripts.servers import Connection, postgres, redis_server, shard_count
from scripts.services.administer.access.workspaces import filter_by
from scripts.services.administer.catalogue.link_lookup import any_link
from scripts.services.recover import replays
from scripts.services.recover.replay_view import View, quiet
from scripts.times import unix_ms
from workers.replay.request import DEFAULT_RATE, ReplayRequest

_POLL_SECONDS: Final = 0.3
_NAMES: Final = tuple(dialect.name for dialect in DIALECTS)
_KINDS: Final = tuple(kind.value for kind in Kind)


@click.command(
    epilog="""\b
An event is replayed where its stream or the archive still has it, and is found by when
an edge took it. What is recorded stays as it is, however often this is run; what waits
for a worker is left to it. With --mode reprocess, what is recorded is resolved and
enriched again, rows and counters change by the difference, and what is in quarantine is
recorded if it can be by now; what cannot be resolved any more stays as it is.

\b
  reftide replay --from 2026-03-01T10:00 --to 2026-03-01T12:30 --dry-run
  reftide replay --from 2h --rate 2000
  reftide replay --from 30d --link SUMMER --mode reprocess

\b
The workers do it, and go on when this command is stopped (Ctrl-C): `reftide replays`.
"""
)
@click.option(
    "--from", "since", type=Moment(), metavar="WHEN", help="90m, 2h, 3d, or a date."
)
@click.option(
    "--to",
    "until",
    type=Moment(),
    default="now",
    metavar="WHEN",
    help="Until before then [now].",
)
@click.option("--kind", type=click.Choice(_KINDS), help="Only these.")
@click.option("--dialect", type=click.Choice(_NAMES), help="Only these.")
@click.option("--workspace", metavar="NAME", help="Whose.")
@click.option("--link", metavar="CODE", help="Only of this link: a code or public id.")
@click.option("--domain", metavar="DOMAIN", help="Of the link's code.")
@click.option(
    "--event", "event_id", type=click.UUID, metavar="ID", help="Only this one."
)
@click.option(
    "--mode",
    type=click.Choice(["missing", "reprocess"]),
    default="missing",
    show_default=True,
    help="Insert what is missing, or correct what is recorded too.",
)
@click.option(
    "--rate",
    type=click.IntRange(1, 1_000_000),
    default=DEFAULT_RATE,
    show_default=True,
    help="Events a second at most, over all workers.",
)
@click.option("--dry-run", is_flag=True, help="Only tell what would be.")
@json_option
@click.pass_context
def command(context: click.Context, /, *, as_json: bool, **asked: Any) -> None:
    """Record again what streams and archive hold; nothing is recorded twice."""
    environment: Environment = context.obj
    if asked["since"] is None and asked["event_id"] is None:
        raise click.UsageError("say from when: --from 2h, or name one --event")
    ordered: list[UUID] = []
    try:
        done = asyncio.run(_replay(environment, asked, ordered, as_json=as_json))
    except KeyboardInterrupt:
        if not ordered:
            raise
        click.echo(
            f"It goes on: see `reftide replays show {ordered[0]}`, or stop it with "
            f"`reftide replays cancel {ordered[0]}`.",
            err=True,
        )
        return
    emit(as_json, done, lambda: _show(done))
    if done["status"] == "paused":
        click.echo(
            f"It is paused: see the workers' logs for `replay.paused`, and let it go on"
            f" with `reftide replays resume {done['id']}`.",
            err=True,
        )
    if done["status"] != "done":
        context.exit(1)


async def _replay(
    environment: Environment,
    asked: Mapping[str, Any],
    ordered: list[UUID],
    *,
    as_json: bool,
) -> dict[str, Any]:
    async with postgres(environment) as connection, redis_server(environment) as redis:
        request = await _request(connection, asked)
        await _tell_horizon(connection, request)
        shards = await shard_count(environment, redis)
        replay_id = await replays.order(connection, asked["mode"], request, shards)
        ordered.append(replay_id)
        if not await replays.has_workers(redis):
            click.echo("No worker is alive: it begins when one is.", err=True)
        view = nullcontext(quiet) if as_json else View()
        with view as show:
            while True:
                replay = await replays.read(connection, replay_id)
                show(replay, await replays.live_lag(redis, shards))
                if replay["status"] != "running":
                    return replays.summary(replay)
                await asyncio.sleep(_POLL_SECONDS)


async def _request(connection: Connection, asked: Mapping[str, Any]) -> ReplayRequest:
    event_id: UUID | None = asked["event_id"]
    since: datetime | None = asked["since"]
    from_ms, to_ms = unix_ms(asked["until"]), unix_ms(asked["until"])
    if since is not None:
        from_ms = unix_ms(since)
    if event_id is not None:
        from_ms, to_ms = ids.millis(event_id), ids.millis(event_id) + 1
    if from_ms >= to_ms:
        raise UsageProblem("--from is not before --to.", "say the earlier time first.")
    link: UUID | None = None
    codes: tuple[str, ...] = ()
    if asked["link"] is not None:
        link = (await any_link(connection, asked["link"], asked["domain"]))["id"]
        codes = await replays.codes_of(connection, link)
    return ReplayRequest(
        from_ms=from_ms,
        to_ms=to_ms,
        kind=asked["kind"] and Kind(asked["kind"]),
        dialect=asked["dialect"],
        workspace_id=_plain(await filter_by(connection, asked["workspace"])),
        link_id=_plain(link),
        codes=codes,
        event_id=event_id,
        rate=asked["rate"],
        is_dry=asked["dry_run"],
    )


async def _tell_horizon(connection: Connection, request: ReplayRequest) -> None:
    """What is of a time whose partition is detached cannot be told from what is new."""
    horizon: datetime | None = await replays.horizon(connection)
    if horizon is None or request.from_ms >= unix_ms(horizon):
        return
    if request.to_ms <= unix_ms(horizon):
        raise UsageProblem(
            f"Partitions of events until {horizon:%Y-%m-%d} are detached: nothing"
            " from before that is replayed, since what was recorded then is not there"
            " to compare.",
            f"attach them again, or say --from {horizon:%Y-%m-%d} or later.",
        )
    click.echo(
        f"Events from before {horizon:%Y-%m-%d} are refused, and counted as such: their"
        " partitions are detached.",
        err=True,
    )


def _show(done: Mapping[str, Any]) -> None:
    shown = {name: value for name, value in done.items() if name != "dry_run"}
    title = "Dry run: nothing was changed" if done["dry_run"] else "Replay"
    facts(shown, title)
    if done["seconds"] and done["scanned"]:
        rate = done["scanned"] / done["seconds"]
        click.echo(f"{counted(done['scanned'], 'event')}, {rate:,.0f} a second.")


def _plain(value: UUID | None) -> UUID | None:
    # asyncpg's is a subclass, which orjson refuses.
    return value and UUID(int=value.int)
