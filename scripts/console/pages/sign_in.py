"""Signing in with a password, and out."""

import asyncio
from collections.abc import Sequence
from http import HTTPStatus
from typing import Final

from aiohttp import web

from ingest.rate_limit.local import LocalLimiter
from scripts.console import rendering
from scripts.console.access import COOKIE
from scripts.console.protection import Refused, require_form_token, require_same_origin
from scripts.console.rendering import BASE
from scripts.console.serving import SIGN_IN, Console, about, form_of, html
from scripts.servers import postgres
from scripts.services.administer.access import users

_MOST_BYTES: Final = 64 * 1024
_HOURS: Final = 12
#: Attempts a minute that may fail: of an address, and at a name.
_OF_AN_ADDRESS: Final = 10
_AT_A_NAME: Final = 30
#: A comparison takes 64 MiB and a core for some 50 ms.
_AT_ONCE: Final = 2
_WRONG: Final = "The name or the password is wrong."


class _Sessions:
    """Begins and ends them, and counts attempts that fail."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._limiter = LocalLimiter()
        self._turns = asyncio.Semaphore(_AT_ONCE)

    async def show(self, request: web.Request) -> web.StreamResponse:
        if await self._console.access.user(request) is not None:
            raise web.HTTPSeeOther(BASE)
        return self._form(request)

    async def enter(self, request: web.Request) -> web.StreamResponse:
        scheme = require_same_origin(request)
        form = await form_of(_small(request))
        name, password = form.get("name", ""), form.get("password", "")
        counted = self._count(request, name)
        async with self._turns, postgres(self._console.environment) as connection:
            found = await users.find(connection, name)
            hashed = found[2] if found else None
            is_right = len(
                password
            ) <= users.LONGEST_PASSWORD and await asyncio.to_thread(
                users.is_password, hashed, password
            )
            if found is None or not is_right:
                return self._form(request, _WRONG, HTTPStatus.FORBIDDEN)
            if former := request.cookies.get(COOKIE):
                await users.sign_out(connection, former)
            token = await users.sign_in(connection, found[0])
        for subject, bucket in counted:
            self._limiter.give_back(subject, bucket)
        response = web.HTTPSeeOther(BASE)
        response.set_cookie(
            COOKIE, token, path=BASE, max_age=_HOURS * 3600, httponly=True,
            samesite="Strict", secure=scheme == "https",
        )  # fmt: skip
        raise response

    async def leave(self, request: web.Request) -> web.StreamResponse:
        require_same_origin(request)
        access = self._console.access
        form = await form_of(_small(request))
        require_form_token(form.get("form_token"), access.form_token(request))
        async with postgres(self._console.environment) as connection:
            await users.sign_out(connection, request.cookies.get(COOKIE, ""))
        access.forget(request)
        response = web.HTTPSeeOther(SIGN_IN)
        response.del_cookie(COOKIE, path=BASE)
        raise response

    def _count(self, request: web.Request, name: str) -> Sequence[tuple[str, int]]:
        """Raises Refused where too many attempts of this minute failed."""
        found = []
        limits = {
            f"from {self._console.access.address(request)}": _OF_AN_ADDRESS,
            f"at {name[:100]}": _AT_A_NAME,
        }
        for subject, limit in limits.items():
            count = self._limiter.take(subject, limit)
            if not count.granted:
                raise Refused(
                    HTTPStatus.TOO_MANY_REQUESTS,
                    "Too many attempts to sign in.",
                    "Wait a minute.",
                )
            found.append((subject, count.bucket))
        return found

    def _form(
        self, request: web.Request, wrong: str = "", status: HTTPStatus = HTTPStatus.OK
    ) -> web.Response:
        frame = about(self._console, request, None) | {"title": "Sign in"}
        return html(rendering.page("sign_in", frame | {"wrong": wrong}), status)


def _small(request: web.Request) -> web.Request:
    """Anybody may send these forms, and to read a large one takes long."""
    return request.clone(client_max_size=_MOST_BYTES)


def routes(console: Console) -> list[web.RouteDef]:
    sessions = _Sessions(console)
    return [
        web.get("/sign-in", sessions.show),
        web.post("/sign-in", sessions.enter),
        web.post("/sign-out", sessions.leave),
    ]
