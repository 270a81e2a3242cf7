"""Batches for `POST /v1/events`: an edge to send them to, and what goes into them."""

from dataclasses import dataclass
from io import BytesIO
from itertools import chain
from typing import Any

import orjson
import pytest
from aiohttp import ClientResponse
from redis.asyncio import Redis

from ingest.contracts.apikey import hashes
from ingest.contracts.directory import KeyRecord, api_key_key
from ingest.contracts.encoding.envelopes import decode
from ingest.contracts.envelope import Envelope
from ingest.contracts.stream import FIELD, events_key, split
from ingest.dialects.batch import BatchAnswer
from ingest.dialects.spec.routes import Endpoint
from tests.support.edge.showcase import (
    KEYS,
    LINK,
    SECRET,
    SHOWN,
    Client,
    Shown,
    publish,
)

RECORDING = [each for each in SHOWN if isinstance(each.route, Endpoint)]
#: A directory that knows a partner's link makes no new one.
GENERATE = "/api/v1/referrals/generate"
CLICK = {
    "path": "/api/v1/track/click",
    "body": {"affiliate_url": "https://example.com/?aff=SARAH"},
}

every_endpoint = pytest.mark.parametrize(
    "shown", [pytest.param(each, id=each.name) for each in RECORDING]
)


@dataclass(frozen=True, slots=True)
class Edge:
    """An edge, and the Redis beneath it."""

    client: Client
    url: str

    async def send(
        self, events: Any, key: str = "own", **headers: str
    ) -> ClientResponse:
        """Send a batch; what is no bytes yet becomes JSON."""
        data = BytesIO(events if isinstance(events, bytes) else orjson.dumps(events))
        named = {name.replace("_", "-"): text for name, text in headers.items()}
        given = {"Authorization": f"Bearer {key}", **named}
        return await self.client.post("/v1/events", data=data, headers=given)

    async def results(self, *events: Any, key: str = "own") -> list[dict[str, Any]]:
        """What became of each event, after a look at whether the answer is one."""
        answer = await self.send([*events], key)
        text = await answer.text()
        assert answer.status in {200, 207, 503}, text
        told = BatchAnswer.model_validate_json(text)
        assert len(events) == len(told.results)
        said = [result.result for result in told.results]
        assert said.count("accepted") == told.accepted
        assert said.count("duplicate") == told.duplicates
        assert said.count("refused") == told.refused
        assert (answer.status == 200) == (told.refused == 0)
        found: list[dict[str, Any]] = orjson.loads(text)["results"]
        return found

    async def entries(self) -> list[list[Envelope]]:
        """The events of each entry."""
        async with Redis.from_url(self.url) as redis:
            streams = [await redis.xrange(events_key(shard)) for shard in range(4)]
        return [
            [decode(event) for event in split(fields[FIELD])]
            for entries in streams
            for _, fields in entries
        ]

    async def appended(self) -> list[Envelope]:
        events = chain.from_iterable(await self.entries())
        return sorted(events, key=lambda envelope: envelope.id)


async def published(url: str, **changes: Any) -> None:
    """Publish what the examples are about, and keys of one scope or none."""
    await publish(url, **changes)
    scopes: dict[str, list[str]] = {
        "tracking": ["track"],
        "writing": ["write"],
        "reading": [],
        "forwarding": ["forward"],
    }
    async with Redis.from_url(url) as redis:
        for name, scope in scopes.items():
            [key_hash] = hashes([SECRET.encode()], name)
            record = KeyRecord(
                key_uuid=KEYS["own"].key_uuid,
                workspace_uuid=LINK.workspace_uuid,
                scopes=scope,
            )
            await redis.set(api_key_key(key_hash), record.encode())


def event(shown: Shown, **more: Any) -> dict[str, Any]:
    return {"path": shown.url, "body": shown.body, **more}


async def said(answer: ClientResponse) -> tuple[int, str]:
    """How a batch as a whole was refused: the status and the code."""
    told = await answer.json()
    assert {"error"} == {*told}
    return answer.status, told["error"]["code"]
