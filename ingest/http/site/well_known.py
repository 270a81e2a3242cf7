"""Serves the files by which phones open links of a domain in an app.

They are read once, when the edge starts.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Final

from aiohttp import web

_NAMES: Final = ("assetlinks.json", "apple-app-site-association")
_KEPT: Final = {"Cache-Control": "public, max-age=3600"}


def routes(folder: Path | None) -> Iterator[web.RouteDef]:
    """Those of the files that the folder has."""
    for name in _NAMES:
        if folder is not None and (folder / name).is_file():
            text = (folder / name).read_bytes()
            yield web.get(f"/.well-known/{name}", partial(_serve, text))


async def _serve(text: bytes, _: web.Request) -> web.Response:
    return web.Response(body=text, content_type="application/json", headers=_KEPT)
