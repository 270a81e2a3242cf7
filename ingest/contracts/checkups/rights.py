"""What the users of Redis must be allowed: commands to try, and how to judge what was refused.

They name keys and shards that there are not, so that they change nothing.
"""

from collections.abc import Sequence
from operator import not_
from typing import Final

from ingest.contracts.checkups.checkup import Rule, Rules

_READING: Final = """
TIME
GET rt:dir:?
MGET rt:dir:?
HGET rt:dir:? ?
HGETALL rt:dir:?
EXISTS rt:dir:?
XREAD COUNT 1 STREAMS rt:dir:? 0
GET rt:shards
GET {rt:?}:epoch
XINFO STREAM {rt:?}:events
XINFO GROUPS {rt:?}:events
XPENDING {rt:?}:events ?
XREVRANGE {rt:?}:events + - COUNT 1
"""
_APPENDING: Final = """
XADD {rt:?}:events NOMKSTREAM * ? ?
SET rt:claim:? ? PX 1
SET rt:seen:? ? PX 1
SET rt:new:? ? PX 1
SET rt:limit:? ? PX 1
SET rt:edge:? ? PX 1
EVAL return 1 rt:limit:?
DEL rt:edge:?
EXPIRE rt:edge-unknown:? 1
ZREM rt:edges ?
WAIT 0 0
UNWATCH
"""
_RECORDING: Final = """
INFO server
DBSIZE
SCAN 0 COUNT 1
MEMORY USAGE rt:dir:?
SMEMBERS rt:groups
ZRANGE rt:workers 0 0
SET rt:dir:? ? PX 1
SET rt:worker:? ? PX 1
PEXPIRE rt:dir:? 1
EVAL return 1 rt:dir:?
EVAL return 1 {rt:?}:events
DEL rt:dir:?
SREM rt:groups ?
ZREM rt:workers ?
XREADGROUP GROUP ? ? COUNT 1 STREAMS {rt:?}:events >
XACK {rt:?}:events ? 0-1
XCLAIM {rt:?}:events ? ? 0 0-1
XAUTOCLAIM {rt:?}:events ? ? 0 0
XGROUP DESTROY {rt:?}:events ?
XRANGE {rt:?}:events - + COUNT 1
XLEN {rt:?}:events
XTRIM {rt:?}:events MINID 0
XDEL {rt:?}:events 0-1
XSETID {rt:?}:events 0-0
SET {rt:?}:epoch ? PX 1
SET {rt:?}:cut ? PX 1
SET arq:? ? PX 1
ZREM arq:? ?
"""

#: Where only streams are. The last one is no right command, and so does nothing.
_PROBING: Final = "SET {rt:?}:probe ? PX 1\nGET rt:place\nSET rt:place ? NX XX"
#: What else of the others is asked of such servers.
_WITHOUT_KEY: Final = ("TIME", "WAIT", "UNWATCH", "INFO")

Command = tuple[str, ...]

#: Of those that are refused, so many are shown.
_SHOWN: Final = 5


def _commands(text: str) -> tuple[Command, ...]:
    return tuple(map(_command, text.strip().splitlines()))


def _command(line: str) -> Command:
    if line.startswith("EVAL"):
        return ("EVAL", "return 1", "1", line.rsplit(maxsplit=1)[-1])
    return tuple(line.split())


#: What edges do, and what workers, commands and the console do.
EDGE: Final = _commands(_READING + _APPENDING.lstrip())
WORKER: Final = _commands(_READING + _APPENDING.lstrip() + _RECORDING.lstrip())


def at_streams(commands: Sequence[Command], *, is_listed: bool) -> Sequence[Command]:
    """What of these is done where only streams are; `is_listed`: on a server of a list."""
    probing = _commands(_PROBING)
    return [
        *(each for each in commands if _is_at_streams(each)),
        *(probing if is_listed else probing[:1]),
    ]


def _is_at_streams(command: Command) -> bool:
    has_shard = any(word.startswith("{rt:") for word in command)
    return has_shard or command[0] in _WITHOUT_KEY


def _shown(refused: Sequence[Command]) -> str:
    if not refused:
        return "all that are needed"
    more = len(refused) - _SHOWN
    names = ", ".join(map(" ".join, refused[:_SHOWN]))
    return f"may not {names}{f' and {more} more' if more > 0 else ''}"


#: `rights`: the commands that were refused.
RIGHTS: Final = Rules(
    "Redis",
    Rule("rights", not_,
         "give its user the rules that scripts/deploy/redis.acl has"),
    rights=_shown,
)  # fmt: skip
