"""Whether an event can flow from one end to the other."""

import asyncio
from collections.abc import Sequence
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException

from redis.asyncio import Redis

from ingest.contracts.directory import GENERATION_KEY
from ingest.contracts.stream import heartbeat_key
from scripts.environment import Environment
from scripts.errors import Unreachable
from scripts.servers import redis_server
from scripts.stack.ports import Address, listens
from scripts.stack.supervision import Process, Say

_LOOK_AGAIN_SECONDS = 0.05
_TELL_AFTER_SECONDS = 10.0
_ANSWER_SECONDS = 2.0
_SHOWN_BYTES = 200


async def forget(environment: Environment, names: Sequence[str]) -> None:
    """Remove what workers of an earlier run left: they would seem alive for a while."""
    async with redis_server(environment) as redis:
        await redis.delete(*map(heartbeat_key, names))


async def ready(
    environment: Environment,
    address: Address,
    edges: Sequence[Process],
    workers: Sequence[str],
    say: Say,
) -> None:
    """Return once every edge takes events and a worker records them."""
    loop = asyncio.get_running_loop()
    told = loop.time()
    while missing := await _missing(environment, address, edges, workers):
        if loop.time() - told > _TELL_AFTER_SECONDS:
            say(f"still waiting: {missing}")
            told = loop.time()
        heed_cancellation()
        await asyncio.sleep(_LOOK_AGAIN_SECONDS)
    heed_cancellation()


def heed_cancellation() -> None:
    """End the task if it was told to end and a call did not pass that on.

    redis-py 5 loses a cancellation that meets the end of a send (Python 3.11's `wait_for`).
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


async def _missing(
    environment: Environment,
    address: Address,
    edges: Sequence[Process],
    workers: Sequence[str],
) -> str:
    for edge in edges:
        if not listens(edge.pid, address.port):
            return f"{edge.name} does not listen yet"
    # The kernel deals connections out, so one edge may answer twice. Then what is dealt to
    # another waits for the moment that it is behind.
    for _ in edges:
        if problem := await asyncio.to_thread(_problem, address.reachable):
            return f"{address.url}/readyz {problem}"
    try:
        async with redis_server(environment) as redis:
            return await _unrecorded(redis, workers)
    except Unreachable as error:
        return str(error)


async def _unrecorded(redis: Redis, workers: Sequence[str]) -> str:
    if not await redis.exists(*map(heartbeat_key, workers)):
        return "no worker has reported yet"
    if not await redis.exists(GENERATION_KEY):
        return "no worker has published the links yet"
    return ""


def _problem(address: Address) -> str:
    connection = HTTPConnection(address.host, address.port, timeout=_ANSWER_SECONDS)
    try:
        connection.request("GET", "/readyz")
        answer = connection.getresponse()
        if answer.status == HTTPStatus.OK:
            return ""
        return answer.read(_SHOWN_BYTES).decode("utf-8", "replace")
    except (OSError, HTTPException) as error:
        return f"does not answer: {error}"
    finally:
        connection.close()
