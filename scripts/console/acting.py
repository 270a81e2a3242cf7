"""Acts in one transaction with their row in the trail."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

from scripts.console.serving import Asked
from scripts.errors import AlreadyExists
from scripts.servers import QUICK_SECONDS, Connection, postgres
from scripts.services import operations


@asynccontextmanager
async def acting(
    asked: Asked, *, seconds: float = QUICK_SECONDS
) -> AsyncIterator[Connection]:
    """A transaction on a connection that may write. Raises Unreachable."""
    try:
        async with (
            postgres(asked.console.environment, seconds=seconds) as connection,
            connection.transaction(),
        ):
            yield connection
    except AlreadyExists:
        if asked.user.workspaces is None:
            raise
        # Who has it may be another workspace's.
        raise AlreadyExists(
            "That code or id is taken.", "choose another one."
        ) from None


async def note(
    asked: Asked,
    connection: Connection,
    what: str,
    arguments: Mapping[str, Any],
    result: Mapping[str, Any],
    workspace_id: UUID | None = None,
) -> int:
    """Write down who did what; of a user of one workspace, it is about that one."""
    owners = asked.user.workspaces or ()
    only = next(iter(owners)) if len(owners) == 1 else None
    return await operations.note(
        connection,
        who=asked.user.name,
        workspace_id=workspace_id or only,
        what=what,
        arguments=arguments,
        result=result,
    )
