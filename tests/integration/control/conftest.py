import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.support.control.api import Api, serving
from tests.support.servers.cli import Cli


@pytest.fixture
async def api(shop: Cli) -> AsyncIterator[Api]:
    """The shop's workspace, by a key that may do everything."""
    made = await asyncio.to_thread(shop.document, "keys", "add", "--scopes", "*")
    async with serving(shop) as client:
        yield Api(client, shop, made["secret"])
