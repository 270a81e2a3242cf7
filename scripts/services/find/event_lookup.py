"""Find events wherever they may be, by id or by what a client calls them."""

import asyncio
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final, NamedTuple
from uuid import UUID

from redis.asyncio import Redis

from ingest.contracts import ids
from ingest.contracts.clickid import PREFIX, KeyRing
from ingest.contracts.stream import FIELD, EntryId
from scripts.environment import Environment
from scripts.errors import UsageProblem
from scripts.servers import Connection, postgres, redis_server, rows, shard_numbers
from scripts.services.administer.access.workspaces import filter_by
from scripts.services.find.attribution import explain
from scripts.services.find.events import FIELDS, with_ids
from scripts.services.find.names import (
    MOST,
    Name,
    Signs,
    name_of,
    quarantined,
    recorded,
)
from scripts.services.observe import spools
from scripts.services.observe.streams import entries, pending_ids, read_shard
from scripts.sql import statements
from workers.model.batch import Entry

_SQL: Final = statements("services/find/event")

#: How far from the time in its id an entry is looked for: clocks differ, and an edge may
#: have held the event back.
_BEFORE_MS: Final = 60_000
_AFTER_MS: Final = 600_000
_SCANNED: Final = 100_000

_RANDOM_BITS: Final = 64
_TEST_BITS: Final = 12
_MOST_NUMBER: Final = 1 << 53
_NUMBER: Final = re.compile("[0-9]{1,16}")
#: All but the 64 bits of chance.
_COMMON_DIGITS: Final = 16


#: What is said of an event that nothing is known of.
_UNKNOWN: Final[dict[str, Any]] = {
    "id": None,
    "event": None,
    "repeat_of": None,
    "repeats": [],
    "quarantine": [],
    "history": [],
    "entry": None,
    "spool": None,
    "state": "unknown",
}
_NOWHERE: Final = {"unknown", "detached"}


class _Sought(NamedTuple):
    """The ids that a text stands for: one, or those of a test event's number."""

    lowest: UUID
    highest: UUID

    @property
    def is_exact(self) -> bool:
        return self.lowest == self.highest

    def signs(self) -> Signs:
        """What envelopes have in common: digits of the id, and that it is in the range."""
        digits = self.lowest.hex if self.is_exact else self.lowest.hex[:_COMMON_DIGITS]
        return Signs(
            [digits.encode()],
            lambda envelope: self.lowest <= envelope.id <= self.highest,
        )


async def trace(
    environment: Environment, text: str, workspace: str | None
) -> dict[str, Any]:
    """What is known of an event by its id, or by what a client calls it.

    Of a name of several events: their list, as `events`. Raises UsageProblem for a click id
    of another installation or an unknown workspace, and Unreachable.
    """
    sought = _sought(environment, text)
    async with postgres(environment) as connection:
        owner = await filter_by(connection, workspace)
        found = {**_UNKNOWN, "found_by": None}
        if sought is not None:
            traced = await _traced(environment, connection, sought)
            if workspace in {None, (traced["event"] or {}).get("workspace", workspace)}:
                found = traced | {"found_by": "id"}
        if found["state"] in _NOWHERE:
            name = await name_of(connection, text, owner)
            found = await _named(environment, connection, name) or found
        if found["state"] in _NOWHERE and sought is None and text.startswith(PREFIX):
            raise UsageProblem(
                "This click id is not one of this installation's.",
                "check REFTIDE_SECRET, and after a rotation REFTIDE_SECRET_PREVIOUS.",
            )
        why = await explain(connection, found["id"]) if found["id"] else None
        return found | {"attribution": why}


async def _named(
    environment: Environment, connection: Connection, name: Name
) -> dict[str, Any] | None:
    """What a client's name stands for; None where nobody knows it."""
    ids = await quarantined(connection, name) | await recorded(connection, name)
    if not ids:
        ids = await _waiting(environment, name)
    if len(ids) > 1:
        return {
            "id": None,
            "state": "several",
            "events": await _listed(connection, ids),
        }
    for event_id, found_by in ids.items():
        found = await _traced(environment, connection, _Sought(event_id, event_id))
        return found | {"found_by": found_by}
    return None


async def _listed(
    connection: Connection, ids: Mapping[UUID, str]
) -> list[dict[str, Any]]:
    """Recorded events, latest first, and those that are not."""
    listed = await with_ids(connection, list(ids))
    for event in listed:
        event |= {"state": "recorded", "found_by": ids[event["id"]]}
    for event_id in ids.keys() - {event["id"] for event in listed}:
        found = await _rows(connection, _Sought(event_id, event_id))
        unread = {"state": found["state"], "found_by": ids[event_id], "id": event_id}
        listed.append(dict.fromkeys(FIELDS) | unread)
    return listed


async def _waiting(environment: Environment, name: Name) -> dict[UUID, str]:
    """Events that have a name and are not recorded yet: on a disk, or on a stream."""
    signs, found = name.signs(), dict[UUID, str]()
    if kept := await asyncio.to_thread(
        spools.find, environment.data, lambda item: any(signs.carried(item.payload))
    ):
        found[kept["event_id"]] = "spool"
    async with redis_server(environment) as redis:
        for shard in await shard_numbers(environment, redis):
            async for _, _, event_id in _unread(redis, shard, signs):
                found[event_id] = "stream"
                if len(found) >= MOST:
                    return found
    return found


async def _traced(
    environment: Environment, connection: Connection, sought: _Sought
) -> dict[str, Any]:
    """What is known of an event by its id."""
    found = await _rows(connection, sought)
    if found["state"] != "unknown":
        return found
    # Before Redis, which is away while there are any.
    if kept := await asyncio.to_thread(
        spools.find,
        environment.data,
        lambda item: sought.lowest <= item.event_id <= sought.highest,
    ):
        return found | {
            "id": kept["event_id"], "state": "spooled", "spool": kept["spool"]
        }  # fmt: skip
    async with redis_server(environment) as redis:
        shards = await shard_numbers(environment, redis)
        entry = await _entry(redis, sought, shards)
    if entry is None:
        return found
    state = "in_flight"
    if not entry["in_flight"]:
        # Perhaps it was recorded since we asked.
        found = await _rows(connection, sought)
        entry["dropped"] = await _dropped(connection, entry)
        state = "dropped" if entry["dropped"] else "missing"
    known = found["state"] if found["state"] != "unknown" else state
    return found | {"id": entry["event_id"], "state": known, "entry": entry}


async def _dropped(connection: Connection, entry: Mapping[str, Any]) -> str | None:
    """Why quarantine did not keep an entry, if it was counted there."""
    if entry["epoch"] is None:
        return None
    at = EntryId.of(entry["entry"].encode())
    place = Entry.of(entry["epoch"], entry["shard"], at.ms, at.seq, entry["index"])
    row = await connection.fetchrow(_SQL["dropped"], *place)
    return row["reason"] if row else None


async def _rows(connection: Connection, sought: _Sought) -> dict[str, Any]:
    event_id: UUID | None = sought.lowest
    if not sought.is_exact:
        event_id = await connection.fetchval(_SQL["tests_between"], *sought)
    event = await connection.fetchrow(_SQL["recorded"], event_id)
    found = {
        **_UNKNOWN,
        "id": event_id,
        "event": dict(event) if event else None,
        "repeat_of": await connection.fetchval(_SQL["alias"], event_id),
        "repeats": await rows(connection, _SQL["repeats"], event_id),
        "quarantine": await rows(connection, _SQL["quarantined"], event_id),
        "history": await rows(connection, _SQL["history"], event_id),
    }
    if found["event"]:
        is_erased = await connection.fetchval(_SQL["erased"], event_id)
        state = "erased" if is_erased else "recorded"
    elif found["repeat_of"] or found["repeats"]:
        state = "repeat"
    elif found["quarantine"]:
        state = "quarantined"
    else:
        is_detached = await connection.fetchval(_SQL["detached"], event_id)
        state = "detached" if is_detached else "unknown"
    return found | {"state": state}


def _sought(environment: Environment, text: str) -> _Sought | None:
    """The ids that a text has the form of, if any."""
    if _NUMBER.fullmatch(text) and int(text) < _MOST_NUMBER:
        lowest = _lowest_id(int(text))
        return _Sought(lowest, UUID(int=lowest.int | ((1 << _RANDOM_BITS) - 1)))
    if text.startswith(PREFIX):
        token = KeyRing(environment.secrets()).verify(text)
        return _Sought(token.click_id, token.click_id) if token else None
    try:
        return _Sought(UUID(text), UUID(text))
    except ValueError:
        return None


def _lowest_id(number: int) -> UUID:
    """The lowest id whose test event has this number: `test_event_number` undone."""
    # The number of the id of 1970 is minus the origin: so it need not be known here.
    origin_ms = -(ids.test_event_number(ids.first_id_at(0)) >> _TEST_BITS)
    at_ms = (number >> _TEST_BITS) + origin_ms
    within = number & ((1 << _TEST_BITS) - 1)
    return UUID(int=ids.first_id_at(at_ms).int | (within << _RANDOM_BITS))


async def _entry(
    redis: Redis, sought: _Sought, shards: Sequence[int]
) -> dict[str, Any] | None:
    """The entry that carries the event, looked for near the time in its id."""
    # An entry of several events follows the id of its first: other shards come second.
    own = shards[sought.lowest.int % len(shards)]
    for shard in sorted(shards, key=lambda shard: shard != own):
        state = await read_shard(redis, shard)
        if found := await _near(redis, shard, sought):
            entry, index, event_id = found
            return {
                "event_id": event_id,
                "epoch": state.epoch,
                "shard": shard,
                "entry": str(entry),
                "index": index,
                "in_flight": entry > state.recorder.delivered
                or entry in await pending_ids(redis, shard),
            }
    return None


async def _near(
    redis: Redis, shard: int, sought: _Sought
) -> tuple[EntryId, int, UUID] | None:
    at_ms = ids.millis(sought.lowest)
    first = EntryId(max(0, at_ms - _BEFORE_MS), 0)
    last = EntryId(at_ms + _AFTER_MS, 0)
    async for found in _between(redis, shard, sought.signs(), first, last):
        return found
    return None


async def _unread(
    redis: Redis, shard: int, signs: Signs
) -> AsyncIterator[tuple[EntryId, int, UUID]]:
    """Events with the signs among those that workers have not acknowledged."""
    state = await read_shard(redis, shard)
    first = state.recorder.delivered
    if oldest := state.recorder.oldest_pending:
        first = min(first, EntryId(max(0, oldest.ms - 1), 0))
    async for found in _between(redis, shard, signs, first, state.last):
        yield found


async def _between(
    redis: Redis, shard: int, signs: Signs, first: EntryId, last: EntryId
) -> AsyncIterator[tuple[EntryId, int, UUID]]:
    scanned = 0
    async for entry, fields in entries(redis, shard, after=first, to=last):
        for index, event_id in signs.carried(fields.get(FIELD, b"")):
            yield entry, index, event_id
        scanned += 1
        if scanned >= _SCANNED:
            return
