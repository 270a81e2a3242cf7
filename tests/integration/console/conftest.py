from collections.abc import AsyncIterator

import pytest

from tests.support.console.desk import Desk, add_user, opened
from tests.support.servers.cli import Cli


@pytest.fixture
async def console(shop: Cli) -> AsyncIterator[Desk]:
    """The shop's console, where jane may act and nobody is signed in."""
    await add_user(shop, "jane", "--role", "operator")
    async with opened(shop) as desk:
        yield desk
