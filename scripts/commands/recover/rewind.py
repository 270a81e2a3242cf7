"""`reftide rewind`: move a consumer group back to a time or an entry."""

import re
from datetime import datetime
from functools import partial
from typing import Any, Final

import click
from redis.asyncio import Redis
from typing_extensions import override

from ingest.contracts.stream import GROUP, EntryId, events_key
from scripts.environment import Environment
from scripts.errors import UsageProblem
from scripts.output import Report, reporting, table
from scripts.parameters import Moment
from scripts.servers import redis_server, shard_count
from scripts.services.observe.streams import find_shard
from scripts.times import unix_ms
from workers.redis_io.stream_state import ZERO, StreamState

_ENTRY: Final = re.compile(r"(\d{1,20})-(\d{1,20})")
_LAST_SEQ: Final = (1 << 64) - 1


class _Place(click.ParamType["EntryId | datetime"]):
    """An entry's id, or a moment."""

    name = "when"

    @override
    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> "EntryId | datetime":
        if _ENTRY.fullmatch(str(value)):
            return EntryId.of(str(value))
        return Moment().convert(value, param, ctx)


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
    place: EntryId | datetime = asked["place"]
    first = place if isinstance(place, EntryId) else EntryId(unix_ms(place), 0)
    group = asked["group"]
    async with redis_server(environment) as redis:
        shards = range(await shard_count(environment, redis))
        if asked["shard"] is not None:
            shards = range(asked["shard"], asked["shard"] + 1)
        looked = [await find_shard(redis, shard) for shard in shards]
        # All are looked at before one is moved.
        found = [state for state in looked if state is not None]
        lacking = [state.shard for state in found if group not in state.groups]
        if lacking and not asked["create"]:
            raise UsageProblem(
                f"Shard {lacking[0]} has no group {group!r}.",
                "check the name, or make it with --create.",
            )
        moved = [await _move(redis, state, group, first) for state in found]
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


async def _move(
    redis: Redis, state: StreamState, group: str, first: EntryId
) -> dict[str, Any]:
    key, to, was = events_key(state.shard), _before(first), None
    if group not in state.groups:
        await redis.xgroup_create(key, group, str(to))
    else:
        was = state.groups[group].delivered
        if to < was:
            await redis.xgroup_setid(key, group, str(to))
        # It reads what is behind its place by itself.
        to = min(to, was)
    return {
        "shard": state.shard,
        "was": None if was is None else str(was),
        "is": str(to),
        "begins": _begins_behind(state, first),
    }


def _begins_behind(state: StreamState, place: EntryId) -> str | None:
    """Where a stream begins that was trimmed, if that is behind a place."""
    if state.added == state.length:
        return None
    if state.first is None:
        return str(state.last.next)
    return str(state.first) if state.first > place else None


def _before(entry: EntryId) -> EntryId:
    """The highest id below an entry's: a group is given what comes after its place."""
    if entry == ZERO:
        return ZERO
    if entry.seq:
        return entry._replace(seq=entry.seq - 1)
    return EntryId(entry.ms - 1, _LAST_SEQ)
