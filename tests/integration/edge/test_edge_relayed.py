"""What an edge shows a server that reports for its customers, and what it keeps of it."""

from pathlib import Path
from typing import Any
from uuid import UUID

from aiohttp.test_utils import TestClient, TestServer
from redis.asyncio import Redis
from uuid_utils.compat import uuid7

from ingest.app import Externals, build
from ingest.contracts.apikey import hashes
from ingest.contracts.clickid import KeyRing
from ingest.contracts.directory import GENERATION_KEY, KeyRecord, api_key_key
from ingest.contracts.envelope import Kind
from tests.support.servers.edges import LINK, SECRET, a_setting, publish, recorded

KEY = "a key of somebody"
RELAYED = {
    "Authorization": f"Bearer {KEY}",
    "X-Forwarded-For": "198.51.100.7",
    "User-Agent": "backend/1.0",
}


async def report_a_lead(url: str, path: Path) -> tuple[int, dict[str, Any]]:
    """Have a server report a lead for a click of the link; status and answer."""
    click = KeyRing([SECRET.encode()]).issue(uuid7(), LINK.link_uuid)
    body = {
        "clickId": click,
        "eventName": "Sign Up",
        "customerExternalId": "user",
    }
    server = TestServer(build(a_setting(url, path), Externals()))
    await server.start_server(auto_decompress=False)
    async with TestClient(server) as client:
        answer = await client.post("/api/track/lead", json=body, headers=RELAYED)
        return answer.status, await answer.json()


async def test_a_checked_key_is_shown_its_link_and_its_servers_traces_are_not_kept(
    redis_url: str, tmp_path: Path
) -> None:
    await publish(redis_url)
    [key_hash] = hashes([SECRET.encode()], KEY)
    record = KeyRecord(
        key_uuid=UUID(int=5), workspace_uuid=LINK.workspace_uuid, scopes=["track"]
    )
    async with Redis.from_url(redis_url) as redis:
        await redis.set(api_key_key(key_hash), record.encode())

    status, answer = await report_a_lead(redis_url, tmp_path)

    assert (200, LINK.public_id) == (status, answer["link"]["id"])
    [envelope] = await recorded(redis_url)
    assert (Kind.LEAD, record.key_uuid) == (envelope.kind, envelope.request.api_key_id)
    assert (None, None, None) == (
        envelope.client.ip,
        envelope.client.user_agent,
        envelope.client.visitor,
    )


async def test_a_key_that_nobody_could_check_is_shown_no_link(
    redis_url: str, tmp_path: Path
) -> None:
    await publish(redis_url)
    async with Redis.from_url(redis_url) as redis:
        # The link is there, but that no such key is there proves nothing any more.
        await redis.delete(GENERATION_KEY)

    status, answer = await report_a_lead(redis_url, tmp_path)

    assert (200, None) == (status, answer["link"])
    assert LINK.public_id not in str(answer)
    [envelope] = await recorded(redis_url)
    assert hashes([SECRET.encode()], KEY) == envelope.request.api_key_hashes
    assert (None, None) == (envelope.client.ip, envelope.client.user_agent)
