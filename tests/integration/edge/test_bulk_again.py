"""A batch that is sent again after anything went wrong doubles nothing."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiohttp import ClientError

from tests.support.eventually import eventually
from tests.support.servers.installation import Client, Installation, an_installation
from tests.support.servers.valkey import Valkey, running_valkey

BATCHES, EVENTS = 12, 50
KEY = {"Authorization": "Bearer bq_live_your_key"}


@pytest.fixture
def valkey() -> Iterator[Valkey]:
    with running_valkey() as server:
        yield server


@pytest.fixture
async def installation(
    valkey: Valkey, database_url: str, tmp_path: Path
) -> AsyncIterator[Installation]:
    async with an_installation(valkey.url, database_url, tmp_path) as made:
        yield made


CLICK = {
    "path": "/api/v1/track/click",
    "body": {"affiliate_url": "https://yoursite.com/?aff=PARTNER123"},
}


@dataclass(frozen=True, slots=True)
class Sender:
    """Sends the same batches as often as it takes, and remembers what it was promised."""

    batches: Sequence[bytes]
    promised: set[str] = field(default_factory=set)

    async def send(self, edge: Client, number: int) -> bool:
        """Whether all of a batch is durable."""
        try:
            answer = await edge.post(
                "/v1/events", data=self.batches[number], headers=KEY
            )
            assert answer.status in {200, 207, 503}
            results = (await answer.json())["results"]
        except ClientError:
            return False
        durable = [each["id"] for each in results if each["result"] != "refused"]
        self.promised.update(durable)
        return len(durable) == len(results)


async def clicks_before(edge: Client) -> list[str]:
    """Click ids, one for each lead."""
    ids: list[str] = []
    for _ in range(BATCHES):
        batch = orjson.dumps([CLICK] * EVENTS)
        answer = await edge.post("/v1/events", data=batch, headers=KEY)
        results = (await answer.json())["results"]
        ids.extend(each["body"]["click_id"] for each in results)
    return ids


def a_batch(number: int, clicks: Sequence[str]) -> bytes:
    """Clicks that a key tells apart, and leads that a rule of their vendor does."""
    events: list[dict[str, Any]] = []
    for each, click in enumerate(clicks):
        events.append({**CLICK, "idempotency_key": f"{number}-{each}"})
        events.append({"path": "/api/v1/track/lead", "body": {"click_id": click}})
    return b"\n".join(map(orjson.dumps, events))


async def test_batches_sent_again_after_valkey_was_killed_double_nothing(
    installation: Installation, valkey: Valkey
) -> None:
    one, other = installation.edges
    ids = await clicks_before(one)
    parts = [ids[start : start + EVENTS] for start in range(0, len(ids), EVENTS)]
    sender = Sender([a_batch(number, part) for number, part in enumerate(parts)])

    async with asyncio.TaskGroup() as group:
        for number in range(BATCHES):
            group.create_task(sender.send(one, number))
            if number == BATCHES // 2:
                await asyncio.sleep(0.02)  # so that some are under way
                valkey.kill()
    valkey.start()
    for number in range(BATCHES):
        await eventually(partial(sender.send, other, number))
    installation.start_worker()

    async def all_recorded() -> bool:
        return await recorded(installation) >= len(ids) * 3

    await eventually(all_recorded, within=100)
    await installation.rests()
    assert len(ids) * 3 == await recorded(installation)
    # Every id that was answered is one of an event, or another name of one.
    assert [] == await installation.rows(
        "select id from unnest($1::uuid[]) as promised(id)"
        " where not exists (select from events where events.id = promised.id)"
        " and not exists (select from event_aliases as alias where alias.id = promised.id)",
        [*sender.promised],
    )


async def recorded(installation: Installation) -> int:
    """How many events the batches made."""
    [(count,)] = await installation.rows(
        "select count(*)::int from events where dialect = 'affitor'"
    )
    return int(count)
