"""The note of a change in Redis: as long as it is there, the change is under way.

A command does nothing more once the note is another one than it knows: somebody else took the
change back, agreed on it or ended it.
"""

from typing import Final

import msgspec
from msgspec.structs import replace
from redis.asyncio import Redis

from ingest.contracts.placement.change import ChangeNote
from ingest.contracts.placement.layout import described
from ingest.contracts.stream import SHARDS_CHANGE_KEY, SHARDS_KEY
from scripts.errors import UsageProblem

# Nobody changes them but a command that began where this one did, and was not taken back.
_AGREE: Final = """
local shards, note = redis.call('GET', KEYS[1]), redis.call('GET', KEYS[2])
if shards ~= ARGV[1] then return shards end
if note ~= ARGV[3] then return false end
redis.call('SET', KEYS[1], ARGV[2])
redis.call('SET', KEYS[2], ARGV[4])
return ARGV[2]
"""

# What was agreed on meanwhile is taken back no more.
_FORGET: Final = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
"""


async def begin(redis: Redis, note: ChangeNote) -> ChangeNote:
    """Say what is under way; the note that is there.

    Raises UsageProblem if that is about another change.
    """
    found = await redis.set(
        SHARDS_CHANGE_KEY, msgspec.json.encode(note), nx=True, get=True
    )
    begun = msgspec.json.decode(found, type=ChangeNote) if found else note
    if begun != replace(note, since=begun.since):
        raise UsageProblem(
            f"Another command has just begun a change to {described(begun.to.encode())},"
            " or agreed on it.",
            "let it end, then see `reftide shards`.",
        )
    return begun


async def is_there(redis: Redis, note: ChangeNote | None) -> bool:
    """Whether this very note is still there."""
    found = await redis.get(SHARDS_CHANGE_KEY)
    return note is not None and found == msgspec.json.encode(note)


async def is_any(redis: Redis) -> bool:
    """Whether any change is under way."""
    return bool(await redis.exists(SHARDS_CHANGE_KEY))


async def agree(redis: Redis, note: ChangeNote) -> ChangeNote:
    """Let `SHARDS_KEY` say the shards to be; the note that says so.

    Raises UsageProblem if somebody else changed that, or the note.
    """
    agreed, will = replace(note, is_agreed=True), note.to.encode()
    found = await redis.register_script(_AGREE)(
        keys=[SHARDS_KEY, SHARDS_CHANGE_KEY],
        args=[note.from_, will, *map(msgspec.json.encode, (note, agreed))],
    )
    if found is None:
        raise gone()
    if found != will:
        raise UsageProblem(
            f"{SHARDS_KEY} in Redis says {described(found)} now.",
            "somebody else changed it: see `reftide shards`.",
        )
    return agreed


async def forget(redis: Redis, note: ChangeNote | None) -> bool:
    """Delete this very note; whether it was still there."""
    script, found = redis.register_script(_FORGET), msgspec.json.encode(note)
    return bool(await script(keys=[SHARDS_CHANGE_KEY], args=[found]))


def gone() -> UsageProblem:
    """That somebody else took the change back, or goes on with it."""
    return UsageProblem(
        "The change is no longer under way as this command began it: another command took"
        " it back, agreed on it or ended it.",
        "see `reftide shards`, then give the number of shards that you want.",
    )
