"""Shards, groups and consumers; rewinding a group, resuming recording."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from ingest.contracts.stream import GROUP
from scripts.console.acting import acting, note
from scripts.console.serving import Act, Asked, Form, Page
from scripts.errors import Failure, UsageProblem
from scripts.servers import postgres, redis_server, shard_numbers
from scripts.services import operations
from scripts.services.maintain import pauses
from scripts.services.recover.rewind import place, rewind

_MOST_ALLOWED: Final = 1_000_000
_LONGEST_NOTE: Final = 2000


async def _read(asked: Asked) -> Mapping[str, Any]:
    sampler = asked.console.sampler
    status = await sampler.status.get()
    now = asked.console.environment.clock()
    return {
        "status": status,
        "groups": await sampler.groups.get(),
        "age": max(0.0, now - status["at"].timestamp()),
    }


async def _read_group(asked: Asked) -> Mapping[str, Any]:
    group = asked.request.query.get("group", GROUP)
    found = await asked.console.sampler.groups.get() or []
    theirs = [each for each in found if each["group"] == group]
    return {"group": group, "shards": theirs}


async def _resume(asked: Asked, form: Form) -> int:
    fixed, allowed = form.get("fixed", "").strip(), form.get("allow", "0")
    if not fixed or len(fixed) > _LONGEST_NOTE:
        raise UsageProblem("Nobody says what was fixed.", "write it in a sentence.")
    allow = int(allowed) if allowed.isascii() and allowed.isdecimal() else -1
    if not 0 <= allow <= _MOST_ALLOWED:
        raise UsageProblem(
            f"{allowed!r} bad entries cannot be allowed.",
            f"give a number from 0 to {_MOST_ALLOWED:,}.",
        )
    async with acting(asked) as connection:
        ended = await pauses.resume(connection, fixed, allow)
        said = {"fixed": fixed, "allow": allow}
        found = {"was_paused": ended is not None, "pause": ended}
        return await note(asked, connection, "resume", said, found)


async def _rewind(asked: Asked, form: Form) -> int:
    environment = asked.console.environment
    group, to = form.get("group", ""), form.get("to", "").strip()
    now = datetime.fromtimestamp(environment.clock(), UTC)
    try:
        where = place(to, now)
    except ValueError as error:
        raise UsageProblem(f"{error}.", "write it so, or as an entry's id.") from error
    said = {"group": group, "to": to}
    async with postgres(environment) as connection:
        number = await operations.begin(
            connection, who=asked.user.name, what="rewind", arguments=said
        )
        try:
            async with redis_server(environment) as redis:
                shards = await shard_numbers(environment, redis)
                moved = await rewind(redis, shards, group, where)
        except Failure as error:
            result = {"problem": error.what, "remedy": error.remedy}
            await operations.end(connection, number, result=result, has_failed=True)
        else:
            done = {f"shard {each['shard']}": each for each in moved}
            await operations.end(connection, number, result=done)
    return number


PAGE: Final = Page("streams", "Streams and workers", _read, is_live=True)
REWIND_PAGE: Final = Page(
    "rewind", "Rewind a group", _read_group, "rewind", role="operator"
)
ACTS: Final = (Act("resume", "operator", _resume), Act("rewind", "operator", _rewind))
