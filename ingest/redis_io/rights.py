"""Which commands a server does not allow its user: they are tried."""

from collections.abc import Sequence

from redis.asyncio import Redis
from redis.exceptions import NoPermissionError

from ingest.contracts.checkups.rights import Command


async def ask_rights(redis: Redis, commands: Sequence[Command]) -> Sequence[Command]:
    """Those that Redis does not allow its user; raises REDIS_ERRORS."""
    async with redis.pipeline(transaction=False) as pipe:
        for command in commands:
            pipe.execute_command(*command)
        replies = await pipe.execute(raise_on_error=False)
    # Other errors are no matter of rights.
    return [
        command
        for command, reply in zip(commands, replies, strict=True)
        if isinstance(reply, NoPermissionError)
    ]
