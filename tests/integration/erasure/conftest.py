"""What tests of erasures share."""

from collections.abc import AsyncIterator

import pytest

from tests.support.directory import furnish
from workers.postgres.database import Pool, open_pool


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    async with open_pool(database_url, size=4) as found:
        async with found.acquire() as connection:
            await furnish(connection)
        yield found
