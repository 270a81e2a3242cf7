"""Orders replays and reads their progress.

The workers do the work; a replay is a row, and commands write and read it.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

import orjson
from redis.asyncio import Redis
from uuid_utils.compat import uuid7

from ingest.contracts import ids
from ingest.contracts.envelope import Kind
from ingest.dialects import DIALECTS
from ingest.redirect.dialects import REDIRECTS
from scripts.errors import UsageProblem
from scripts.servers import Connection, required, rows
from scripts.services import parsers
from scripts.services.administer.access.workspaces import filter_by
from scripts.services.administer.catalogue.link_lookup import any_link
from scripts.services.administer.catalogue.partners import the_partner
from scripts.services.noun import Noun, NounFacts, NounField, Row, Table
from scripts.sql import statements
from scripts.times import unix_ms
from workers.redis_io.stream_state import lag_of, read_stream
from workers.replay.leases import Mode
from workers.replay.request import ReplayRequest
from workers.stream.liveness import live_workers

_SQL: Final = statements("services/recover/replays")

#: What a replay may be confined to.
KINDS: Final = tuple(kind.value for kind in Kind)
DIALECTS_NAMED: Final = tuple(dialect.name for dialect in (*DIALECTS, *REDIRECTS))
MODES: Final = ("missing", "reprocess")

_SUMMARY: Final = (
    "id", "mode", "status", "dry_run", "scanned", "inserted", "changed", "unchanged",
    "quarantined", "refused", "read", "damaged", "damaged_segments", "seconds",
)  # fmt: skip
_FROM: Final = {
    "paused": ("running",),
    "running": ("paused",),
    "cancelled": ("running", "paused"),
}


def _in_words(row: Row) -> Row:
    asked = row["requested"].items()
    return row | {"requested": [in_words(name, value) for name, value in asked]}


def in_words(name: str, value: Any) -> str:
    if not name.endswith("_ms"):
        return f"{name} {value}"
    moment = datetime.fromtimestamp(value / 1000, UTC)
    return f"{name.removesuffix('_ms')} {moment.isoformat(' ', 'seconds')}"


REPLAYS: Final = Noun(
    "replays",
    "Follow replays, and stop them. Workers carry them on by themselves.",
    """
    reftide replays list
    reftide replays pause 01890a5d-ac96-774b-bcce-b302099a8057
    """,
    replay_id=NounField("", parsers.uuid, "ID"),
    limit=NounField("At most so many.", parsers.whole(1, 10_000), "N", default=20),
)
_COLUMNS: Final = (
    "id mode dry_run status scanned inserted changed unchanged quarantined refused"
    " damaged seconds created_at"
)
_STATUS: Final = "Replay {id} is {status}."


@REPLAYS.action("--limit", Table(_COLUMNS, key="replays"))
async def list_(connection: Connection, limit: int) -> list[Row]:
    """List replays, newest first."""
    return await rows(connection, _SQL["list"], limit)


@REPLAYS.action("REPLAY_ID", NounFacts("Replay {id}", shown=_in_words))
async def show(connection: Connection, replay_id: UUID) -> Row:
    """Show a replay: what was asked for, how far it is, and its results."""
    found = await read(connection, replay_id)
    left = {"seconds_left": seconds_left(found)}
    return found | left | {"requested": asked_for(found)}


def seconds_left(replay: Row) -> float | None:
    """For how long a replay that `read` found will go on as until now; None if it cannot be told."""
    read_already, expected = replay["read"], replay["expected"]
    if replay["status"] != "running" or not (read_already and expected):
        return None
    left = max(0, expected - read_already) * replay["seconds"] / read_already
    return round(float(left), 1)


def asked_for(replay: Row) -> dict[str, Any]:
    """The filters and limits of a replay that `read` found, which say anything."""
    asked = orjson.loads(replay["requested"])
    return {name: value for name, value in asked.items() if value not in (None, [])}


@REPLAYS.action("REPLAY_ID", _STATUS)
async def pause(connection: Connection, replay_id: UUID) -> Row:
    """Pause a replay; what it has done stays done."""
    return await put(connection, replay_id, "paused")


@REPLAYS.action("REPLAY_ID", _STATUS)
async def resume(connection: Connection, replay_id: UUID) -> Row:
    """Resume a paused replay where it stopped."""
    return await put(connection, replay_id, "running")


@REPLAYS.action("REPLAY_ID", _STATUS)
async def cancel(connection: Connection, replay_id: UUID) -> Row:
    """Cancel a replay for good; what it has done stays done."""
    return await put(connection, replay_id, "cancelled")


async def put(connection: Connection, replay_id: UUID, status: str) -> Row:
    """Pause, resume or cancel it. Raises UsageProblem for a replay that is over, or unknown."""
    row = await required(
        connection, _unknown(replay_id), _SQL["set"], replay_id, status, _FROM[status]
    )
    if not row["is_changed"] and row["status"] != status:
        raise UsageProblem(
            f"The replay {replay_id} is {row['status']}.",
            "order a new one: `reftide replay`.",
        )
    return {"id": replay_id, "status": status}


async def order(
    connection: Connection, mode: Mode, request: ReplayRequest, shards: Sequence[int]
) -> UUID:
    """Write down a new replay; workers begin within a second or two."""
    replay_id = UUID(int=uuid7().int)
    async with connection.transaction():
        await connection.execute(_SQL["order"], replay_id, mode, request.encode())
        parts = [(replay_id, shard) for shard in shards]
        await connection.executemany(_SQL["order_part"], parts)
    return replay_id


async def read(connection: Connection, replay_id: UUID) -> dict[str, Any]:
    """The state of a replay. Raises UsageProblem for an unknown one."""
    return await required(connection, _unknown(replay_id), _SQL["one"], replay_id)


async def requested(connection: Connection, asked: Mapping[str, Any]) -> ReplayRequest:
    """The request that options or a form make. Raises UsageProblem."""
    event_id: UUID | None = asked["event_id"]
    since: datetime | None = asked["since"]
    from_ms, to_ms = unix_ms(asked["until"]), unix_ms(asked["until"])
    if since is not None:
        from_ms = unix_ms(since)
    if event_id is not None:
        from_ms, to_ms = ids.millis(event_id), ids.millis(event_id) + 1
    if from_ms >= to_ms:
        raise UsageProblem(
            "--from is not before --to.", "swap them, or leave out --to."
        )
    owner = await filter_by(connection, asked["workspace"])
    partner: UUID | None = None
    if asked["partner"] is not None:
        partner = (await the_partner(connection, asked["partner"], owner))["id"]
    link: UUID | None = None
    codes: tuple[str, ...] = ()
    if asked["link"] is not None:
        link = (await any_link(connection, asked["link"], asked["domain"]))["id"]
        found = await connection.fetch(_SQL["codes"], link)
        codes = tuple(row["code"] for row in found)
    return ReplayRequest(
        from_ms=from_ms,
        to_ms=to_ms,
        kind=asked["kind"] and Kind(asked["kind"]),
        dialect=asked["dialect"],
        workspace_id=_plain(owner),
        link_id=_plain(link),
        codes=codes,
        partner_id=_plain(partner),
        event_id=_plain(event_id),
        rate=asked["rate"],
        is_dry=asked["dry_run"],
    )


async def refused_until(
    connection: Connection, request: ReplayRequest
) -> datetime | None:
    """Until when events of the request are of detached partitions; None: none of them is.

    Raises UsageProblem where all of them are.
    """
    horizon: datetime | None = await connection.fetchval(_SQL["horizon"])
    if horizon is None or request.from_ms >= unix_ms(horizon):
        return None
    if request.to_ms <= unix_ms(horizon):
        raise UsageProblem(
            f"Partitions of events until {horizon:%Y-%m-%d} are detached. A replay cannot"
            " tell which events from before that are recorded already.",
            "attach them again (`reftide partitions attach`), or give --from"
            f" {horizon:%Y-%m-%d} or later.",
        )
    return horizon


def _plain(value: UUID | None) -> UUID | None:
    # asyncpg's is a subclass, which orjson refuses.
    return value and UUID(int=value.int)


async def live_lag(redis: Redis, shards: Sequence[int]) -> float:
    """How far behind the recorder is, in seconds, in the worst of the shards."""
    streams = [await read_stream(redis, shard) for shard in shards]
    return max((lag_of(each).seconds for each in streams if each), default=0.0)


async def has_workers(redis: Redis) -> bool:
    return bool(await live_workers(redis))


def summary(replay: Mapping[str, Any]) -> dict[str, Any]:
    """What `reftide replay` says in the end."""
    return {name: replay[name] for name in _SUMMARY}


def _unknown(replay_id: UUID) -> UsageProblem:
    return UsageProblem(
        f"There is no replay {replay_id}.", "see `reftide replays list`."
    )
