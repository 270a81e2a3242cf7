"""Scripts that run inside Redis, for many keys in one pipeline."""

from collections.abc import Sequence
from hashlib import sha1
from typing import Any, Final, NamedTuple

from redis.asyncio import Redis
from redis.exceptions import NoScriptError


class ScriptCall(NamedTuple):
    """One run of a script."""

    key: str
    arguments: Sequence[int]


class LuaScript(NamedTuple):
    """A Lua script of one key, and its SHA-1."""

    text: str
    sha: str

    @classmethod
    def of(cls, text: str) -> "LuaScript":
        return cls(text, sha1(text.encode(), usedforsecurity=False).hexdigest())

    async def run(self, redis: Redis, calls: Sequence[ScriptCall]) -> list[Any]:
        """Its reply to each call, which may be an exception; raises REDIS_ERRORS."""
        replies = await _send(redis, ("EVALSHA", self.sha), calls)
        unknown = [
            place
            for place, reply in enumerate(replies)
            if isinstance(reply, NoScriptError)
        ]
        if unknown:
            again = [calls[place] for place in unknown]
            answers = await _send(redis, ("EVAL", self.text), again)
            for place, answer in zip(unknown, answers, strict=True):
                replies[place] = answer
        return replies


async def _send(
    redis: Redis, command: tuple[str, str], calls: Sequence[ScriptCall]
) -> list[Any]:
    async with redis.pipeline(transaction=False) as pipe:
        for call in calls:
            pipe.execute_command(*command, 1, call.key, *call.arguments)
        return await pipe.execute(raise_on_error=False)


#: Takes permits out of a window, by the server's clock: a hash of counts by bucket.
#: Arguments: limit, wanted, milliseconds of a bucket, buckets kept. Replies with the permits
#: granted, those used, the oldest bucket in use, and the clock in milliseconds.
#: It may write after TIME, since Redis 7 and later replicate effects, not scripts.
TAKE: Final = LuaScript.of("""
local limit, wanted = tonumber(ARGV[1]), tonumber(ARGV[2])
local size, kept = tonumber(ARGV[3]), tonumber(ARGV[4])
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local bucket = math.floor(now / size)
local used, oldest, over = 0, bucket, {}
local counts = redis.call('HGETALL', KEYS[1])
for place = 1, #counts, 2 do
  local at, count = tonumber(counts[place]), tonumber(counts[place + 1])
  if count == 0 or math.abs(bucket - at) >= kept then
    over[#over + 1] = counts[place]
  else
    used = used + count
    oldest = math.min(oldest, at)
  end
end
local granted = math.max(0, math.min(wanted, limit - used))
if granted > 0 then
  if #over > 0 then
    redis.call('HDEL', KEYS[1], unpack(over))
  end
  redis.call('HINCRBY', KEYS[1], bucket, granted)
  redis.call('PEXPIRE', KEYS[1], size * kept)
end
return {granted, used + granted, oldest, now}
""")

#: Returns permits. Arguments: bucket, how many. An expired window is not created again: its
#: count would stay below zero for ever.
GIVE_BACK: Final = LuaScript.of("""
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 1 then
  redis.call('HINCRBY', KEYS[1], ARGV[1], -tonumber(ARGV[2]))
end
return 0
""")
