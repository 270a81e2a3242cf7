"""Liveness, readiness and version of the process."""

from collections.abc import Callable, Mapping

import orjson
from aiohttp import web
from redis.asyncio import Redis

from ingest.contracts.metrics.build import version
from ingest.contracts.placement.layout import Layout, described
from ingest.contracts.stream import SHARDS_KEY
from ingest.durable.degradation import Level
from ingest.durable.servers import AppendServers
from ingest.durable.sink import DurableSink
from ingest.redis_io.client import REDIS_ERRORS


class Health:
    """Answers `/livez`, `/readyz` and `/version`."""

    def __init__(
        self,
        redis: Redis,
        servers: AppendServers,
        sink: DurableSink,
        refusal: Callable[[], str | None],
    ) -> None:
        """Ready means: an event would be durable, and this goes on.

        Spooling is being ready: traffic that is sent elsewhere for it finds the same
        Redis there. Workers must read the shards that events go to. Where `redis` answers, it
        may have come back with other shards, or emptied and with none yet: the first process
        that appends writes them. `refusal` says why Redis has never let this edge in: such an edge
        is not ready, since its settings are wrong and not the Redis of all.
        """
        self._redis = redis
        self._servers = servers
        self._sink = sink
        self._refusal = refusal
        self.is_draining = False

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/livez", self._live),
            web.get("/readyz", self._ready),
            web.get("/version", self._tell_version),
        ]

    async def _live(self, _: web.Request) -> web.StreamResponse:
        return json_response(200, {"live": True})

    async def _ready(self, _: web.Request) -> web.StreamResponse:
        problem = await self._problem()
        if problem is None:
            return json_response(200, {"ready": True, **self._sink.standing._asdict()})
        return json_response(503, {"ready": False, "problem": problem})

    async def _tell_version(self, _: web.Request) -> web.StreamResponse:
        return json_response(200, {"version": version()})

    async def _problem(self) -> str | None:
        if self.is_draining:
            return "draining"
        level, why = self._sink.standing
        if level is Level.REFUSE:
            return why
        if refusal := self._refusal():
            return f"Redis refuses this edge: {refusal} See REDIS_URL."
        try:
            agreed = await self._redis.get(SHARDS_KEY)
        except REDIS_ERRORS:
            return None
        if agreed is None or self._are_read(agreed):
            return None
        ours = described(self._servers.layout.record)
        return f"shards: {described(agreed)} in Redis, {ours} here"

    def _are_read(self, agreed: bytes) -> bool:
        """Whether workers that agree on these shards read those that events go to."""
        layout, used = self._servers.layout, self._servers.in_use
        is_read = layout.is_beside(agreed) and used <= Layout.numbered(agreed)
        return agreed == layout.record or not used or is_read


def json_response(status: int, body: Mapping[str, object]) -> web.Response:
    """A small document."""
    return web.Response(
        status=status, body=orjson.dumps(body), content_type="application/json"
    )
