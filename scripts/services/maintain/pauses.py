"""Whether recording is paused."""

from typing import Any, Final

from scripts.servers import Connection, rows
from scripts.sql import statements

_SQL: Final = statements("services/maintain/pauses")


async def lasting(connection: Connection) -> dict[str, Any] | None:
    """The pause that lasts: its cause, what it is about, who paused, since when."""
    return next(iter(await rows(connection, _SQL["open"])), None)


async def resume(
    connection: Connection, fixed: str, allowed: int
) -> dict[str, Any] | None:
    """End the pause that lasts; the pause, None where there was none."""
    return next(iter(await rows(connection, _SQL["resume"], fixed, allowed)), None)
