"""`reftide rewind`: move a consumer group back to a time or an entry."""

from datetime import UTC, datetime
from functools import partial
from typing import Any

import click
from typing_extensions import override

from ingest.contracts.stream import GROUP, EntryId
from scripts.environment import Environment
from scripts.output import Report, reporting, table
from scripts.servers import redis_server, shard_numbers
from scripts.services.recover.rewind import place, rewind


class _Place(click.ParamType["EntryId | datetime"]):
    """An entry's id, or a moment."""

    name = "when"

    @override
    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> "EntryId | datetime":
        environment: Environment = click.get_current_context().obj
        now = datetime.fromtimestamp(environment.clock(), UTC)
        try:
            return place(str(value), now)
        except ValueError as error:
            self.fail(str(error), param, ctx)


@click.command(
    epilog="""\b
Entries that arrived at or after --to are delivered again. For the recorder that changes
no row, no counter and not the ledger: it recognises every entry by its place. Until the
group has acknowledged them again, `status` shows them in flight and a balance below 0.
A group is never moved forward, since it would skip what it has not read. If a stream was
trimmed beyond --to, the command says so.

\b
  reftide rewind --to 2h
  reftide rewind --to 1741608000000-0 --shard 2
  reftide rewind --group warehouse --create --to 2026-03-01

\b
A group holds back the trimmer: entries stay until it has acknowledged them.
"""
)
@click.option("--group", default=GROUP, help="The group to move.")
@click.option(
    "--to",
    "place",
    type=_Place(),
    required=True,
    metavar="WHEN",
    help="90m, 2h, 3d, a date, or an entry's id.",
)
@click.option("--shard", type=click.IntRange(0), help="Only this shard.")
@click.option("--create", is_flag=True, help="Create the group if it is missing.")
@reporting
async def command(environment: Environment, /, **asked: Any) -> Report:
    """Move a consumer group back, so that it reads entries again."""
    group = asked["group"]
    async with redis_server(environment) as redis:
        shards = await shard_numbers(environment, redis)
        if asked["shard"] is not None:
            shards = (asked["shard"],)
        moved = await rewind(
            redis, shards, group, asked["place"], makes_group=asked["create"]
        )
    document = {"group": group, "shards": moved}
    return Report(document, partial(_show, moved))


def _show(moved: list[dict[str, Any]]) -> None:
    rows = [row | {"next": EntryId.of(row["is"]).next} for row in moved]
    table(rows, ("shard", "was", "next", "begins"), "Rewound")
    if any(row["begins"] for row in moved):
        click.echo(
            "These streams begin later: what they held before is trimmed. `reftide replay`"
            " records it from the archive, if there is one."
        )
