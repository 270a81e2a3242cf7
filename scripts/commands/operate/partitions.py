"""`reftide partitions`: months of events; detach old ones, attach them again."""

import asyncio
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import click

from ingest.contracts.checkup import size
from scripts.environment import Environment
from scripts.output import counted, emit, json_option, table
from scripts.parameters import Parsed
from scripts.servers import ask_postgres, postgres, redis_server, shard_count
from scripts.services.maintain import partitions
from scripts.services.maintain.partitions import Month

_MONTH: Final = re.compile(r"(\d{4})-(0[1-9]|1[0-2])")
_COLUMNS: Final = ("month", "partition", "state", "events", "size")
#: Half-way; the same command ends it.
_UNDER_WAY: Final = ("closed", "folded")


def _month(text: str) -> datetime:
    """`2026-03`: the first moment of a month, UTC."""
    found = _MONTH.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is no month: write 2026-03")
    return datetime(int(found[1]), int(found[2]), 1, tzinfo=UTC)


@click.group(
    epilog="""\b
A detached month is a table of its own, events_YYYYMM, that Reftide no longer reads: dump
it, move it or drop it. Every counter keeps what its events counted. Events that come late
for it are quarantined; replay, reprocess and redrive refuse them.

\b
  reftide partitions detach --before 2026-03
  reftide partitions attach --from 2026-01
"""
)
def command() -> None:
    """Detach old months of events, without changing a counter."""


@command.command("list")
@json_option
@click.pass_obj
def list_(environment: Environment, *, as_json: bool) -> None:
    """List the months, and which of them are detached."""
    found = ask_postgres(environment, partitions.months)
    document = {
        "horizon": partitions.horizon(found),
        "partitions": [partitions.as_row(month) for month in found],
    }
    emit(as_json, document, lambda: _show(found))


@command.command()
@click.option(
    "--before",
    type=Parsed(_month, "month"),
    required=True,
    metavar="MONTH",
    help="As 2026-03.",
)
@json_option
@click.pass_obj
def detach(environment: Environment, before: datetime, *, as_json: bool) -> None:
    """Detach all months before MONTH. Workers may go on writing meanwhile.

    It stores what the months count, then detaches them. If it is stopped, run it again.
    """
    tell = _silent if as_json else _told
    done = asyncio.run(_detach(environment, before, tell))
    emit(as_json, done, lambda: _end(done))


@command.command()
@click.option(
    "--from",
    "since",
    type=Parsed(_month, "month"),
    required=True,
    metavar="MONTH",
    help="As 2026-03.",
)
@json_option
@click.pass_obj
def attach(environment: Environment, since: datetime, *, as_json: bool) -> None:
    """Attach all months from MONTH on again. If it is stopped, run it again."""
    tell = _silent if as_json else _told
    done = asyncio.run(_attach(environment, since, tell))
    emit(as_json, done, lambda: _end(done))


async def _detach(
    environment: Environment, before: datetime, tell: Callable[[str], None]
) -> dict[str, Any]:
    done: list[dict[str, Any]] = []
    async with (
        postgres(environment, seconds=partitions.SECONDS) as connection,
        redis_server(environment) as redis,
    ):
        await partitions.claim(connection)
        now = datetime.fromtimestamp(environment.clock(), UTC)
        await partitions.may_go(connection, before, now)
        shards = await shard_count(environment, redis)
        for month in await partitions.months(connection):
            if month.until <= before and month.state not in {"detached", "gone"}:
                events = await partitions.detach(connection, redis, shards, month)
                done.append({"partition": month.name, "events": events})
                tell(f"{month.name} is detached: {counted(events, 'event')}.")
        after = await partitions.months(connection)
        return {"detached": done, "horizon": partitions.horizon(after)}


async def _attach(
    environment: Environment, since: datetime, tell: Callable[[str], None]
) -> dict[str, Any]:
    done: list[dict[str, Any]] = []
    async with postgres(environment, seconds=partitions.SECONDS) as connection:
        await partitions.claim(connection)
        # The latest first, so that what stays detached is what came before a moment.
        for month in reversed(await partitions.months(connection)):
            if month.since >= since and month.state != "attached":
                await partitions.attach(connection, month)
                done.append({"partition": month.name, "events": month.events})
                tell(f"{month.name} is attached.")
        after = await partitions.months(connection)
        return {"attached": done, "horizon": partitions.horizon(after)}


def _show(found: list[Month]) -> None:
    shown = [
        {
            **partitions.as_row(month),
            "size": None if month.bytes is None else size(month.bytes),
        }
        for month in found
    ]
    table(shown, _COLUMNS)
    for month in found:
        if month.state in _UNDER_WAY:
            click.echo(
                f"{month.name} is half detached: run `reftide partitions detach --before"
                f" {month.until:%Y-%m}` again."
            )
        if month.state == "by hand":
            click.echo(
                f"{month.name} was detached by hand, without its counts: run `reftide"
                f" partitions attach --from {month.since:%Y-%m}`."
            )


def _end(done: Mapping[str, Any]) -> None:
    if not (done.get("detached") or done.get("attached")):
        click.echo("There was nothing to do.")
    if done["horizon"] is not None:
        click.echo(
            f"Events from before {done['horizon']:%Y-%m-%d} are refused: their months are"
            " detached."
        )


def _told(line: str) -> None:
    click.echo(line)


def _silent(_: str) -> None:
    pass
