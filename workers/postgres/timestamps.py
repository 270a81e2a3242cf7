"""Moments on their way to PostgreSQL and back.

asyncpg's own way with `timestamptz` compares every moment with both infinities and converts
its time zone: it takes as long as the other columns of an event together. A batch has few
moments and many values, so what was worked out for one is kept.
"""

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, Final

#: PostgreSQL counts from here, in microseconds ("Date/Time Types" in its manual).
_EPOCH: Final = datetime(2000, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


async def teach(connection: Any) -> None:
    """Have a connection take and give moments this way: aware ones, none of them infinite."""
    await connection.set_type_codec(
        "timestamptz",
        schema="pg_catalog",
        encoder=_counted,
        decoder=_moment,
        format="tuple",
    )


@lru_cache(maxsize=4096)
def _counted(moment: datetime) -> tuple[int]:
    return ((moment - _EPOCH) // _MICROSECOND,)


def _moment(counted: tuple[int]) -> datetime:
    return _EPOCH + timedelta(microseconds=counted[0])
