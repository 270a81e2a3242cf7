"""The application: pages, acts and files of the console, and what else a process mounts."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Final

from aiohttp import web

from scripts import tasks
from scripts.console import serving
from scripts.console.access import Access
from scripts.console.pages import (
    operating,
    operations,
    overview,
    quarantine,
    quarantine_acts,
    replays,
    sign_in,
    streams,
    traffic,
)
from scripts.console.pages.catalogue import acts as catalogue_acts
from scripts.console.pages.catalogue import importing, links, partners, programs
from scripts.console.pages.finding import customers, events
from scripts.console.protection import missing
from scripts.console.reads import Reads
from scripts.console.rendering import BASE, STATIC, static
from scripts.console.sampler import Sampler
from scripts.environment import Environment

#: In the order of the navigation.
ALL_PAGES: Final[tuple[serving.Page, ...]] = (
    overview.PAGE, streams.PAGE, streams.REWIND_PAGE, *quarantine.PAGES, *replays.PAGES, *events.PAGES,
    *customers.PAGES, traffic.PAGE, *links.PAGES, importing.PAGE, *partners.PAGES, *programs.PAGES, *operations.PAGES, *operating.PAGES,
)  # fmt: skip
DOWNLOADS: Final = (traffic.CSV, events.CSV, operations.CSV)
#: What answers a form with a page.
ANSWERS: Final = (
    quarantine_acts.PREVIEW_PAGE,
    operating.KEY_PAGE,
    importing.PREVIEW_PAGE,
)
ALL_ACTS: Final[tuple[serving.Act, ...]] = (
    *streams.ACTS, *quarantine_acts.ACTS, *replays.ACTS, *operating.ACTS, *catalogue_acts.ACTS,
    importing.ACT,
)  # fmt: skip
#: Of a form; a list to import is one.
_MOST_BYTES: Final = 1024 * 1024


def build_app(
    environment: Environment,
    mounts: Iterable[web.RouteDef] = (),
    *,
    is_open: bool = False,
) -> web.Application:
    """The console below `/console`, and `mounts` at their own paths.

    `is_open` lets anybody on this machine do everything. Raises Unreachable without the
    installation's secret, UsageProblem for a variable that is wrong.
    """
    reads, figures = Reads(environment), Reads(environment.lagging())
    access = Access(environment, reads, is_open=is_open)
    console = serving.Console(
        environment, reads, figures, access, Sampler(environment, reads)
    )
    pages = web.Application(
        middlewares=[serving.guarding(console)], client_max_size=_MOST_BYTES
    )
    pages[serving.PAGES] = tuple(each for each in ALL_PAGES if not each.path)
    pages.cleanup_ctx.append(_sampling(console))
    for page in ALL_PAGES:
        path = f"/{page.path or page.name}"
        pages.router.add_get(path, serving.page_handler(console, page))
    for page in ANSWERS:
        pages.router.add_post(f"/{page.path}", serving.preview_handler(console, page))
    for download in DOWNLOADS:
        csv = serving.download_handler(console, download)
        pages.router.add_get(f"/{download.name}", csv)
    for act in ALL_ACTS:
        pages.router.add_post(f"/{act.name}", serving.act_handler(console, act))
    pages.add_routes(sign_in.routes(console))
    pages.router.add_get("/static/{name}", _static)
    pages.router.add_get("", _to_first_page(console))
    pages.router.add_route("*", "/{rest:.*}", _nothing)
    app = web.Application()
    app.add_routes(mounts)
    app.router.add_get("/", _to_console)
    app.add_subapp(BASE, pages)
    return app


def _sampling(
    console: serving.Console,
) -> Callable[[web.Application], AsyncIterator[None]]:
    async def life(_: web.Application) -> AsyncIterator[None]:
        await console.reads.open()
        await console.figures.open()
        sampling = asyncio.create_task(console.sampler.run())
        yield
        await tasks.end(sampling)
        console.figures.close()
        console.reads.close()

    return life


async def _static(request: web.Request) -> web.Response:
    name = request.match_info["name"]
    if name not in STATIC:
        raise missing()
    return web.Response(
        body=static(name),
        content_type=STATIC[name],
        charset="utf-8",
        headers={"Cache-Control": "private, max-age=300"},
    )


async def _to_console(_: web.Request) -> web.Response:
    raise web.HTTPSeeOther(BASE)


def _to_first_page(
    console: serving.Console,
) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def handle(request: web.Request) -> web.StreamResponse:
        user = await console.access.user(request)
        if user is None:
            raise web.HTTPSeeOther(serving.SIGN_IN)
        raise web.HTTPSeeOther(f"{BASE}/{serving.pages_of(request, user)[0].name}")

    return handle


async def _nothing(_: web.Request) -> web.Response:
    raise missing()
