"""Calls of Bricqs' routes on a seeded installation, each from an address of its own."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from aiohttp import ClientResponse

from tests.support.servers.installation import Installation, elsewhere

BASE = "/api/v1/referrals"
CAMPAIGN = "550e8400-e29b-41d4-a716-446655440000"
KEY = {"X-API-Key": "bq_live_your_key"}


async def generate(
    site: Installation,
    participant: str = "user_9",
    edge: int = 0,
    headers: Mapping[str, str] = KEY,
) -> ClientResponse:
    body = {"participant_id": participant, "campaign_id": CAMPAIGN}
    return await site.edges[edge].post(
        f"{BASE}/generate", json=body, headers={**elsewhere(), **headers}
    )


async def code_of(site: Installation, participant: str = "user_9") -> str:
    found = await (await generate(site, participant)).json()
    return str(found["code"])


async def validate(site: Installation, code: str, edge: int = 0) -> ClientResponse:
    path = f"{BASE}/validate/{code}"
    return await site.edges[edge].get(path, headers=elsewhere())


async def convert(
    site: Installation,
    code: str = "ALEX2026",
    session: str = "sess_newuser_456",
    edge: int = 0,
    headers: Mapping[str, str] | None = None,
) -> ClientResponse:
    body = {"code": code, "referred_session_id": session}
    return await site.edges[edge].post(
        f"{BASE}/convert", json=body, headers={**elsewhere(), **(headers or {})}
    )


async def stats(site: Installation, participant: str, edge: int = 0) -> ClientResponse:
    path = f"{BASE}/stats/{participant}"
    return await site.edges[edge].get(path, headers={**elsewhere(), **KEY})


async def bodies(answers: Sequence[ClientResponse]) -> list[Any]:
    assert {200} == {answer.status for answer in answers}
    return [await answer.json() for answer in answers]


async def all_of(calls: Sequence[Any]) -> list[ClientResponse]:
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(call) for call in calls]
    return [task.result() for task in running]
