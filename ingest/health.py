"""Whether this process lives, and whether to send it traffic. Used by `app`."""

import asyncio
from importlib import metadata
from typing import Final

import orjson
from aiohttp import web
from redis.asyncio import Redis

from ingest.contracts.stream import SHARDS_KEY
from ingest.wire import TROUBLE

_ANSWER_SECONDS: Final = 0.5


class Health:
    """Answers `/livez`, `/readyz` and `/version`."""

    def __init__(self, redis: Redis, shards: int) -> None:
        """Ready means: `redis` answers and agrees on the shards, and this goes on.

        Redis can come back with another number of shards, or emptied and with none yet:
        the first process that appends writes it.
        """
        self._redis = redis
        self._shards = shards
        self.is_draining = False

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/livez", self._live),
            web.get("/readyz", self._ready),
            web.get("/version", self._tell_version),
        ]

    async def _live(self, _: web.Request) -> web.StreamResponse:
        return _json(200, {"live": True})

    async def _ready(self, _: web.Request) -> web.StreamResponse:
        problem = await self._problem()
        if problem is None:
            return _json(200, {"ready": True})
        return _json(503, {"ready": False, "problem": problem})

    async def _tell_version(self, _: web.Request) -> web.StreamResponse:
        return _json(200, {"version": _version()})

    async def _problem(self) -> str | None:
        if self.is_draining:
            return "draining"
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                agreed = await self._redis.get(SHARDS_KEY)
        except TROUBLE as error:
            return f"redis: {type(error).__name__}"
        if agreed is not None and agreed != b"%d" % self._shards:
            found = agreed.decode("utf-8", "replace")
            return f"shards: {found} in Redis, {self._shards} here"
        return None


def _version() -> str:
    try:
        return metadata.version("reftide")
    except metadata.PackageNotFoundError:
        return "not installed"  # run from its source


def _json(status: int, body: dict[str, object]) -> web.Response:
    return web.Response(
        status=status, body=orjson.dumps(body), content_type="application/json"
    )
