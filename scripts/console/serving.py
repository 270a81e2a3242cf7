"""What pages and acts are declared as, and how requests come to them."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial
from hashlib import blake2b
from http import HTTPStatus
from time import monotonic
from typing import Any, Final, NamedTuple

import asyncpg
from aiohttp import web

from scripts.console import rendering
from scripts.console.access import Access
from scripts.console.protection import (
    HEADERS,
    Refused,
    missing,
    require_form_token,
    require_same_origin,
    require_text,
)
from scripts.console.reads import Reads
from scripts.console.rendering import BASE
from scripts.console.sampler import Sampler
from scripts.environment import Environment
from scripts.errors import Unreachable, UsageProblem
from scripts.output import csv_text
from scripts.services.administer.access.users import User
from workers.model.batch import TransientError

SIGN_IN: Final = f"{BASE}/sign-in"
_FIELD: Final = "form_token"
_SHARED_SECONDS: Final = 1.0

Form = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Console:
    """What pages and acts have."""

    environment: Environment
    reads: Reads
    #: Of a database that may be behind.
    figures: Reads
    access: Access
    sampler: Sampler
    #: Takes a core for a while.
    searches: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(2))


class Asked(NamedTuple):
    """A request of somebody who may make it."""

    console: Console
    request: web.Request
    user: User


class Page(NamedTuple):
    """A page at `/console/NAME`, or at a path of its own, of the template of that name.

    `read` finds what it shows. One that is about the installation is for its users only.
    """

    name: str
    title: str
    read: Callable[[Asked], Awaitable[Mapping[str, Any]]]
    #: Below `/console`, as aiohttp writes it: the page of a thing has its name in there. One
    #: without a path is part of the navigation.
    path: str = ""
    is_about_all: bool = True
    #: Users with this role see it.
    role: str = "viewer"
    #: Its template has a block `live`. Of a page about the installation it is the same for all
    #: who may see it.
    is_live: bool = False

    @property
    def is_the_same_for_all(self) -> bool:
        """Not that of a thing, which is another one at each address, nor of workspaces."""
        return self.is_about_all and "{" not in self.path


#: One about what belongs to workspaces.
OwnPage = partial(Page, is_about_all=False)


class Act(NamedTuple):
    """What a form at `/console/NAME` does.

    Gives the number of its row in `operations`, or the path of the page that shows its outcome.
    """

    name: str
    role: str
    run: Callable[[Asked, Form], Awaitable[int | str]]
    is_about_all: bool = True


class Download(NamedTuple):
    """CSV at `/console/NAME`: texts of some rows each, sent as they are read."""

    name: str
    columns: Sequence[str]
    read: Callable[[Asked], AsyncGenerator[str]]
    is_about_all: bool = False


class _Latest:
    """The live part of a page as it was sent last: tabs that ask together share it."""

    def __init__(self) -> None:
        self.text = ""
        self._until = 0.0

    def is_fresh(self) -> bool:
        return monotonic() < self._until

    def keep(self, text: str) -> None:
        self.text = text
        self._until = monotonic() + _SHARED_SECONDS


def page_handler(
    console: Console, page: Page
) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    latest = _Latest()

    async def handle(request: web.Request) -> web.StreamResponse:
        is_part = page.is_live and request.query.get("part") == "live"
        user = await console.access.user(request)
        if user is None:
            if is_part:
                raise Refused(HTTPStatus.UNAUTHORIZED, "Nobody is signed in.")
            raise web.HTTPSeeOther(SIGN_IN)
        _require(user, page.role, is_about_all=page.is_about_all)
        if is_part and page.is_the_same_for_all and latest.is_fresh():
            return _with_etag(request, latest.text)
        asked = Asked(console, request, user)
        if not is_part:
            return await _rendered(asked, page)
        data = await page.read(asked)
        if not page.is_the_same_for_all:
            data = {**about(console, request, user, page), **data}
        text = rendering.live(page.name, data)
        latest.keep(text)
        return _with_etag(request, text)

    return handle


def download_handler(
    console: Console, download: Download
) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def handle(request: web.Request) -> web.StreamResponse:
        user = await console.access.user(request)
        if user is None:
            raise web.HTTPSeeOther(SIGN_IN)
        _require(user, "viewer", is_about_all=download.is_about_all)
        async with aclosing(download.read(Asked(console, request, user))) as texts:
            # What is refused is refused before the first row.
            first = await anext(texts, "")
            named = {"Content-Disposition": f'attachment; filename="{download.name}"'}
            response = web.StreamResponse(headers={**HEADERS, **named})
            response.content_type, response.charset = "text/csv", "utf-8"
            await response.prepare(request)
            head = csv_text((), download.columns, head=True)
            await response.write(f"{head}{first}".encode())
            await _send(request, response, texts)
        return response

    return handle


async def _send(
    request: web.Request, response: web.StreamResponse, texts: AsyncGenerator[str]
) -> None:
    try:
        async for text in texts:
            await response.write(text.encode())
    except (UsageProblem, Unreachable, *_AWAY):
        # What ends too early does not look whole.
        if request.transport is not None:
            request.transport.abort()


def act_handler(
    console: Console, act: Act
) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def handle(request: web.Request) -> web.StreamResponse:
        user, form = await _sender(console, request)
        _require(user, act.role, is_about_all=act.is_about_all)
        then = await act.run(Asked(console, request, user), form)
        path = then if isinstance(then, str) else f"operations/{then}"
        raise web.HTTPSeeOther(f"{BASE}/{path}")

    return handle


def preview_handler(
    console: Console, page: Page
) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """A page that shows what a form would do."""

    async def handle(request: web.Request) -> web.StreamResponse:
        user, _ = await _sender(console, request)
        _require(user, page.role, is_about_all=page.is_about_all)
        return await _rendered(Asked(console, request, user), page)

    return handle


async def _rendered(asked: Asked, page: Page) -> web.Response:
    data = await page.read(asked)
    return html(rendering.page(page.name, {**about(*asked, page), **data}))


async def _sender(console: Console, request: web.Request) -> tuple[User, Form]:
    """Who sent a form of the console's own. Raises Refused."""
    require_same_origin(request)
    user = await console.access.user(request, is_act=True)
    if user is None:
        raise web.HTTPSeeOther(SIGN_IN)
    form = await form_of(request)
    require_form_token(form.get(_FIELD), console.access.form_token(request))
    return user, form


async def form_of(request: web.Request) -> Form:
    """The texts of a form; files are left out."""
    try:
        given = await request.post()
    except (LookupError, UnicodeDecodeError) as error:
        raise Refused(
            HTTPStatus.BAD_REQUEST, f"No form can be read: {error}."
        ) from error
    form = {name: value for name, value in given.items() if isinstance(value, str)}
    require_text(form.values())
    return form


def about(
    console: Console, request: web.Request, user: User | None, page: Page | None = None
) -> dict[str, Any]:
    """What the frame of every page shows."""
    return {
        "user": user,
        "is_open": console.access.is_open,
        # The page of a thing belongs to the page of the list, whose name it begins with.
        "here": page.name.partition("-")[0] if page else "",
        "title": page.title if page else "",
        "pages": pages_of(request, user) if user else (),
        "form_token": console.access.form_token(request),
    }


def pages_of(request: web.Request, user: User) -> list[Page]:
    """The pages of the navigation that are for this user."""
    listed: tuple[Page, ...] = request.app[PAGES]
    return [each for each in listed if user.workspaces is None or not each.is_about_all]


def html(text: str, status: HTTPStatus = HTTPStatus.OK) -> web.Response:
    return web.Response(
        text=text,
        status=status,
        content_type="text/html",
        headers={"Cache-Control": "no-store"},
    )


def _with_etag(request: web.Request, text: str) -> web.Response:
    etag = f'"{blake2b(text.encode(), digest_size=12).hexdigest()}"'
    headers = {"Cache-Control": "private, no-cache", "ETag": etag}
    if request.headers.get("If-None-Match") == etag:
        return web.Response(status=HTTPStatus.NOT_MODIFIED, headers=headers)
    return web.Response(text=text, content_type="text/html", headers=headers)


def _require(user: User, role: str, *, is_about_all: bool) -> None:
    """Raises Refused: 404 for what is not theirs to see, 403 for what is not to do."""
    if is_about_all and user.workspaces is not None:
        raise missing()
    if not user.may(role):
        raise Refused(
            HTTPStatus.FORBIDDEN,
            f"This needs the role {role}; {user.name} is {user.role}.",
            "Ask an admin.",
        )


PAGES: Final = web.AppKey("pages", tuple)
#: What the database says of values that no parser knows of, and of what another took beside us.
_WRONG: Final = (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError)
_AWAY: Final = (TransientError, TimeoutError)


def _refusal(error: Exception) -> Refused:
    match error:
        case UsageProblem():
            return Refused(HTTPStatus.BAD_REQUEST, error.what, error.remedy)
        case Unreachable():
            return Refused(HTTPStatus.SERVICE_UNAVAILABLE, error.what, error.remedy)
        case TransientError() | TimeoutError():
            what = f"A server did not answer in time. {error}".strip()
            return Refused(HTTPStatus.SERVICE_UNAVAILABLE, what, "Try again.")
        case _:
            what = f"The database refuses a value: {error}."
            return Refused(HTTPStatus.BAD_REQUEST, what, "Look at what you typed.")


def guarding(
    console: Console,
) -> Callable[..., Awaitable[web.StreamResponse]]:
    """Errors become pages that say what to do, and every answer has the headers."""

    @web.middleware
    async def guard(
        request: web.Request,
        handler: Callable[[web.Request], Awaitable[web.StreamResponse]],
    ) -> web.StreamResponse:
        try:
            require_text(request.query.values())
            response = await handler(request)
        except Refused as refused:
            response = _told(console, request, refused)
        except (UsageProblem, Unreachable, *_WRONG, *_AWAY) as error:
            response = _told(console, request, _refusal(error))
        except web.HTTPException as error:
            error.headers.update(HEADERS)
            raise
        response.headers.update(HEADERS)
        return response

    return guard


def _told(console: Console, request: web.Request, refused: Refused) -> web.Response:
    frame = about(console, request, None) | {"title": refused.status.phrase}
    said = {"what": refused.what, "remedy": refused.remedy}
    return html(rendering.page("problem", frame | said), refused.status)
