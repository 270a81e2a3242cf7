"""Moments as a worker's connections give them to PostgreSQL and take them back."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from workers.postgres.database import open_pool

MOMENTS = {
    "the first that counts from Unix": datetime(1970, 1, 1, tzinfo=UTC),
    "before what PostgreSQL counts from": datetime(
        1999, 12, 31, 23, 59, 59, 999_999, UTC
    ),
    "with every digit": datetime(2026, 2, 28, 12, 34, 56, 789_123, UTC),
    "the last that Python has": datetime(9999, 12, 31, 23, 59, 59, 999_999, UTC),
    "told elsewhere": datetime(
        2026, 7, 1, 5, 45, tzinfo=timezone(timedelta(hours=5, minutes=45))
    ),
}


@pytest.mark.parametrize("moment", MOMENTS.values(), ids=MOMENTS)
async def test_postgres_has_the_moment_that_was_given(
    database_url: str, moment: datetime
) -> None:
    text = moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f+00")

    async with open_pool(database_url, size=1) as pool:
        found = await pool.fetchrow(
            "select $1::timestamptz = $2::text::timestamptz, $1, array[$1],"
            " $3::timestamptz[]",
            moment,
            text,
            [moment, None],
        )

    assert found is not None
    assert (True, moment, [moment], [moment, None]) == tuple(found)
