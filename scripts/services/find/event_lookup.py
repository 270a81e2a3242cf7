"""Find one event wherever it may be."""

import asyncio
from collections.abc import Mapping
from typing import Any, Final, NamedTuple
from uuid import UUID

from redis.asyncio import Redis

from ingest.contracts import ids
from ingest.contracts.clickid import PREFIX, KeyRing
from ingest.contracts.envelope import NewerVersion, Undecodable, decode
from ingest.contracts.stream import FIELD, EntryId, shard_of, split
from scripts.environment import Environment
from scripts.errors import UsageProblem
from scripts.servers import Connection, postgres, redis_server, rows, shard_count
from scripts.services.observe import spools
from scripts.services.observe.streams import Fields, entries, pending_ids, read_shard
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
#: All but the 64 bits of chance.
_COMMON_DIGITS: Final = 16


class _Sought(NamedTuple):
    """The ids that a text stands for: one, or those of a test event's number."""

    lowest: UUID
    highest: UUID

    @property
    def is_exact(self) -> bool:
        return self.lowest == self.highest

    @property
    def digits(self) -> str:
        """What the ids have in common, in hexadecimal."""
        return self.lowest.hex if self.is_exact else self.lowest.hex[:_COMMON_DIGITS]


async def trace(environment: Environment, text: str) -> dict[str, Any]:
    """What is known of an event. Raises UsageProblem for what is no id, and Unreachable."""
    sought = _sought(environment, text)
    async with postgres(environment) as connection:
        found = await _rows(connection, sought)
        if found["state"] != "unknown":
            return found
        # Before Redis, which is away while there are any.
        if kept := await asyncio.to_thread(spools.find, environment.data, *sought):
            return found | {
                "id": kept["event_id"], "state": "spooled", "spool": kept["spool"]
            }  # fmt: skip
        async with redis_server(environment) as redis:
            shards = await shard_count(environment, redis)
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
        "id": event_id,
        "event": dict(event) if event else None,
        "repeat_of": await connection.fetchval(_SQL["alias"], event_id),
        "repeats": await rows(connection, _SQL["repeats"], event_id),
        "quarantine": await rows(connection, _SQL["quarantined"], event_id),
        "history": await rows(connection, _SQL["history"], event_id),
        "entry": None,
        "spool": None,
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


def _sought(environment: Environment, text: str) -> _Sought:
    if text.isascii() and text.isdigit() and int(text) < _MOST_NUMBER:
        lowest = _lowest_id(int(text))
        return _Sought(lowest, UUID(int=lowest.int | ((1 << _RANDOM_BITS) - 1)))
    if text.startswith(PREFIX):
        token = KeyRing(environment.secrets()).verify(text)
        if token is None:
            raise UsageProblem(
                "This click id is not one of this installation's.",
                "check REFTIDE_SECRET, and after a rotation REFTIDE_SECRET_PREVIOUS.",
            )
        return _Sought(token.click_id, token.click_id)
    try:
        return _Sought(UUID(text), UUID(text))
    except ValueError as error:
        raise UsageProblem(
            f"{text!r} is no id of an event.",
            "give a UUID, a click id (clk_…) or the number of a test event.",
        ) from error


def _lowest_id(number: int) -> UUID:
    """The lowest id whose test event has this number: `test_event_number` undone."""
    # The number of the id of 1970 is minus the origin: so it need not be known here.
    origin_ms = -(ids.test_event_number(ids.first_id_at(0)) >> _TEST_BITS)
    at_ms = (number >> _TEST_BITS) + origin_ms
    within = number & ((1 << _TEST_BITS) - 1)
    return UUID(int=ids.first_id_at(at_ms).int | (within << _RANDOM_BITS))


async def _entry(redis: Redis, sought: _Sought, shards: int) -> dict[str, Any] | None:
    """The entry that carries the event, looked for near the time in its id."""
    # An entry of several events follows the id of its first: other shards come second.
    own = shard_of(sought.lowest, shards)
    for shard in sorted(range(shards), key=lambda shard: shard != own):
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
    at_ms, scanned = ids.millis(sought.lowest), 0
    first = EntryId(max(0, at_ms - _BEFORE_MS), 0)
    last = EntryId(at_ms + _AFTER_MS, 0)
    async for entry, fields in entries(redis, shard, after=first, to=last):
        if found := _carried(fields, sought):
            return entry, *found
        scanned += 1
        if scanned >= _SCANNED:
            break
    return None


def _carried(fields: Fields, sought: _Sought) -> tuple[int, UUID] | None:
    """Which of an entry's events is sought, and its id."""
    raw = fields.get(FIELD, b"")
    # Decoding a hundred thousand envelopes takes long; almost all lack these digits.
    if sought.digits.encode() not in raw:
        return None
    for index, event in enumerate(split(raw)):
        try:
            event_id = decode(event).id
        except (Undecodable, NewerVersion):
            continue
        if sought.lowest <= event_id <= sought.highest:
            return index, event_id
    return None
