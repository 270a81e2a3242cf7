"""The console of an installation as its users meet it."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import ClientResponse, DummyCookieJar, web
from aiohttp.test_utils import TestClient, TestServer

from scripts.console.app import build_app
from scripts.environment import Environment
from tests.support.servers.cli import Cli

PASSWORD = "correct horse battery"


@dataclass(frozen=True, slots=True)
class Seen:
    status: int
    text: str
    headers: Mapping[str, str]

    @property
    def token(self) -> str:
        """What the forms of the page carry."""
        found = re.search(r'name="form_token" value="(\w+)"', self.text)
        return found[1] if found else ""


@dataclass(slots=True)
class Desk:
    """A browser without script. It follows no redirection by itself."""

    client: TestClient[web.Request, web.Application]
    cookies: dict[str, str] = field(default_factory=dict)

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.client.port}"

    async def get(self, path: str, **headers: str) -> Seen:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        answer = await self.client.get(
            f"/console/{path}",
            headers=named,
            cookies=self.cookies,
            allow_redirects=False,
        )
        return await self._seen(answer)

    async def post(
        self, path: str, form: Mapping[str, str] | bytes, **headers: str
    ) -> Seen:
        """As a form of a page of the console, unless headers say otherwise."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        named = {"Origin": self.origin, "Sec-Fetch-Site": "same-origin"} | named
        answer = await self.client.post(
            f"/console/{path}", data=form, headers=named, cookies=self.cookies,
            allow_redirects=False,
        )  # fmt: skip
        return await self._seen(answer)

    async def sign_in(self, name: str, password: str = PASSWORD) -> Seen:
        return await self.post("sign-in", {"name": name, "password": password})

    async def act(self, page: str, act: str, **form: str) -> Seen:
        """Send a form of a page."""
        token = (await self.get(page)).token
        return await self.post(act, {**form, "form_token": token})

    async def _seen(self, answer: ClientResponse) -> Seen:
        for name, morsel in answer.cookies.items():
            self.cookies[name] = morsel.value
        return Seen(answer.status, await answer.text(), answer.headers)


async def add_user(cli: Cli, name: str, *options: str) -> None:
    sent = f"{PASSWORD}\n{PASSWORD}\n"
    done = await asyncio.to_thread(
        lambda: cli.run("console", "users", "add", name, *options, sent=sent)
    )
    assert 0 == done.code, done.err


@asynccontextmanager
async def opened(
    cli: Cli, *, is_open: bool = False, clock: Callable[[], float] | None = None
) -> AsyncIterator[Desk]:
    environment = Environment(cli.variables, clock or (lambda: cli.now))
    app = build_app(environment, is_open=is_open)
    server = TestServer(app)
    async with TestClient(server, cookie_jar=DummyCookieJar()) as client:
        yield Desk(client)
