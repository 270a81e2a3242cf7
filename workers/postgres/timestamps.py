"""A codec for `timestamptz` that caches conversions.

asyncpg's own codec compares every value with both infinities and converts its time zone,
which takes as long as all other columns of an event. A batch has few distinct times.
"""

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, Final

#: PostgreSQL's epoch; it counts microseconds.
_EPOCH: Final = datetime(2000, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


async def register_codec(connection: Any) -> None:
    """Use the codec on a connection, for aware and finite datetimes."""
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
