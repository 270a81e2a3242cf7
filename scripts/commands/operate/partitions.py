"""`reftide partitions`: months of events; detach old ones, attach them again."""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final, TypeVar

import click

from ingest.contracts.checkups.checkup import size
from scripts.environment import Environment
from scripts.output import Report, counted, reporting, table, tell
from scripts.parameters import Parsed
from scripts.servers import Connection, postgres, redis_server, shard_numbers
from scripts.services.maintain import partitions
from scripts.services.maintain.partitions import Month

_MONTH: Final = re.compile(r"(\d{4})-(0[1-9]|1[0-2])")
_COLUMNS: Final = ("month", "partition", "state", "events", "size")
#: Half-way; the same command ends it.
_UNDER_WAY: Final = ("closed", "folded")

_Body = TypeVar("_Body", bound=Callable[..., Any])


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


def _month_option(*names: str) -> Callable[[_Body], _Body]:
    kind = Parsed(_month, "month")
    return click.option(
        *names, "bound", type=kind, required=True, metavar="MONTH", help="As 2026-03."
    )


@command.command("list")
@reporting
async def list_(environment: Environment) -> Report:
    """List the months, and which of them are detached."""
    async with postgres(environment) as connection:
        found = await partitions.months(connection)
    document = {
        "horizon": partitions.horizon(found),
        "partitions": [partitions.as_row(month) for month in found],
    }
    return Report(document, partial(_show, found))


@command.command()
@_month_option("--before")
@reporting
async def detach(environment: Environment, bound: datetime) -> Report:
    """Detach all months before MONTH. Workers may go on writing meanwhile.

    It stores what the months count, then detaches them. If it is stopped, run it again.
    """
    done: list[dict[str, Any]] = []
    async with (
        postgres(environment, seconds=partitions.SECONDS) as connection,
        redis_server(environment) as redis,
        partitions.claimed(environment),
    ):
        now = datetime.fromtimestamp(environment.clock(), UTC)
        await partitions.may_go(connection, bound, now)
        shards = await shard_numbers(environment, redis)
        for month in await partitions.months(connection):
            if month.until <= bound and month.state not in {"detached", "gone"}:
                events = await partitions.detach(connection, redis, shards, month)
                done.append({"partition": month.name, "events": events})
                tell(f"{month.name} is detached: {counted(events, 'event')}.")
        return await _report("detached", done, connection)


@command.command()
@_month_option("--from")
@reporting
async def attach(environment: Environment, bound: datetime) -> Report:
    """Attach all months from MONTH on again. If it is stopped, run it again."""
    done: list[dict[str, Any]] = []
    async with (
        postgres(environment, seconds=partitions.SECONDS) as connection,
        partitions.claimed(environment),
    ):
        # The latest first, so that what stays detached is what came before a moment.
        for month in reversed(await partitions.months(connection)):
            if month.since >= bound and month.state != "attached":
                await partitions.attach(connection, month)
                done.append({"partition": month.name, "events": month.events})
                tell(f"{month.name} is attached.")
        return await _report("attached", done, connection)


async def _report(
    what: str, done: list[dict[str, Any]], connection: Connection
) -> Report:
    horizon = partitions.horizon(await partitions.months(connection))
    lines = [] if done else ["There was nothing to do."]
    if horizon is not None:
        lines.append(
            f"Events from before {horizon:%Y-%m-%d} are refused: their months are"
            " detached."
        )
    return Report({what: done, "horizon": horizon}, lambda: _say(lines))


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


def _say(lines: list[str]) -> None:
    for line in lines:
        click.echo(line)
