"""Pauses of recording."""

from typing import Any, Final

from scripts.servers import Connection, rows
from scripts.sql import statements

_SQL: Final = statements("services/maintain/pauses")


async def lasting(connection: Connection) -> dict[str, Any] | None:
    """The open pause: its cause, its detail, the consumer that paused, and since when."""
    return next(iter(await rows(connection, _SQL["open"])), None)


async def latest(connection: Connection, limit: int) -> list[dict[str, Any]]:
    """Pauses, the latest first."""
    return await rows(connection, _SQL["latest"], limit)


async def resume(
    connection: Connection, fixed: str, allowed: int
) -> dict[str, Any] | None:
    """End the open pause; the pause, None if there was none."""
    return next(iter(await rows(connection, _SQL["resume"], fixed, allowed)), None)
