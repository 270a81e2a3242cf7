"""The control API of an installation as its clients call it."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from scripts.control.mount import table
from scripts.control.routes import BASE
from scripts.environment import Environment
from tests.support.servers.cli import Cli

Client = TestClient[web.Request, web.Application]


@dataclass(frozen=True, slots=True)
class Said:
    status: int
    body: Any
    headers: Mapping[str, str]


@dataclass(slots=True)
class Api:
    """Calls with a key that may do everything, unless told otherwise."""

    client: Client
    cli: Cli
    key: str
    keys: dict[str, str] = field(default_factory=dict)

    async def __call__(
        self, method: str, path: str, body: Any = None, **headers: str
    ) -> Said:
        """`path` is below `/control/v1`, unless it begins with two slashes."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        named.setdefault("Authorization", f"Bearer {self.key}")
        where = path[1:] if path.startswith("//") else BASE + path
        answer = await self.client.request(method, where, json=body, headers=named)
        said = await answer.json()
        return Said(answer.status, said, answer.headers)

    async def a_key(self, scopes: str, *options: str) -> str:
        """The header of a new key with these scopes."""
        add = ("keys", "add", "--scopes", scopes, *options)
        made = await asyncio.to_thread(self.cli.document, *add)
        return f"Bearer {made['secret']}"


@asynccontextmanager
async def serving(cli: Cli) -> AsyncIterator[Client]:
    """A process like the console's, with nothing but the control API."""
    app = web.Application()
    variables = {"REFTIDE_TRUSTED_PROXIES": "127.0.0.0/8", **cli.variables}
    app.add_routes(table(Environment(variables, lambda: cli.now)))
    async with TestClient(TestServer(app)) as client:
        yield client
