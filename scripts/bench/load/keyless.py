"""Requests that nobody vouches for, each of which leaves something behind in Redis.

Addresses rotate, and so do visitors, customers, sessions and idempotency keys: no limit by any
of them is ever reached.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from random import Random
from typing import Final, NamedTuple

import orjson
from redis.asyncio import Redis

_JSON: Final = {"Content-Type": "application/json"}
_AFFITOR: Final = "/api/v1/track"
#: Keys of processes and jobs, which exist without any request.
_PROCESSES: Final = (b"rt:edge", b"rt:worker", b"rt:arq", b"arq:")
_SCANNED: Final = 1000


class Call(NamedTuple):
    """One POST."""

    path: str
    headers: Mapping[str, str]
    body: bytes


#: Sends a call; the status and the body of the answer.
Send = Callable[[Call], Awaitable[tuple[int, bytes]]]


class Names(NamedTuple):
    """What the calls are about: codes of links by the dialects that take them."""

    affitor: str = "PARTNER123"
    bio_re: str = "alice123"
    bricqs: str = "ALEX2026"
    dub: tuple[str, str] = ("go.yoursite.com", "alice")


#: Those of the demo workspace.
_NAMES: Final = Names()


async def fill(
    send: Send, calls: int, *, names: Names = _NAMES, first: int = 0, at_once: int = 32
) -> Counter[int]:
    """Send so many calls of a mixture of all dialects; how often each status came.

    `first` is the number of the first visitor, and the seed: calls of the same numbers are
    the same.
    """
    dice, statuses = Random(first), Counter[int]()  # noqa: S311 -- no secret
    left = iter(range(first, first + calls))

    async def sender() -> None:
        click_id = None
        for number in left:
            made = call(dice, number, click_id, names)
            status, body = await send(made)
            statuses[status] += 1
            if made.path == f"{_AFFITOR}/click":
                click_id = orjson.loads(body).get("click_id")

    async with asyncio.TaskGroup() as tasks:
        for _ in range(at_once):
            tasks.create_task(sender())
    return statuses


def call(
    dice: Random, number: int, click_id: str | None, names: Names = _NAMES
) -> Call:
    """One of a mixture; a visitor of this number sends it."""
    domain, key = names.dub
    page = f"https://yoursite.com/?aff={names.affitor}"
    path, body = dice.choice(
        [
            (f"{_AFFITOR}/click", {"affiliate_url": page, "session_id": f"s{number}"}),
            (f"{_AFFITOR}/lead", _lead(number, click_id)),
            ("/track/click", {"domain": domain, "key": key}),
            # The same visitor once more, by the same address: a duplicate.
            ("/track/click", {"domain": domain, "key": key, "url": "again"}),
            (f"/api/v1/referral/click/{names.bio_re}", {}),
            ("/api/v1/referrals/convert", _conversion(number, names.bricqs)),
            (f"{_AFFITOR}/click", {"affiliate_url": f"{page}{number}"}),
        ]
    )
    visitor = number & ~1 if "url" in body else number
    headers = {**_JSON, "X-Forwarded-For": rotating(visitor)}
    if dice.random() < 1 / 4:
        headers["Idempotency-Key"] = f"{dice.getrandbits(128):032x}"
    return Call(path, headers, orjson.dumps(body))


def _lead(number: int, click_id: str | None) -> Mapping[str, str]:
    named = {"click_id": click_id} if click_id else {}
    mail = f"person{number}@example.com"
    return {"customer_key": f"invented-{number}", "email": mail, **named}


def _conversion(number: int, code: str) -> Mapping[str, str]:
    return {"code": code, "referred_session_id": f"sess_{number}"}


def rotating(number: int) -> str:
    """An address of 10.0.0.0/8: each call is of another one, and every 256th of another /24."""
    return f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"


class Held(NamedTuple):
    """What a key takes up, as MEMORY USAGE counts, and its expiry; -1: it has none."""

    bytes: int
    left_ms: int


async def survey(redis: Redis) -> dict[bytes, Held]:
    """All keys but streams and those of processes."""
    found: dict[bytes, Held] = {}
    cursor = 0
    while True:
        cursor, keys = await redis.scan(cursor, count=_SCANNED)
        async with redis.pipeline(transaction=False) as pipe:
            for key in keys:
                pipe.type(key)
                pipe.memory_usage(key)
                pipe.pttl(key)
            answers = await pipe.execute()
        for at, key in enumerate(keys):
            kind, size, left_ms = answers[3 * at : 3 * at + 3]
            # One may have expired meanwhile.
            if (
                size is not None
                and kind != b"stream"
                and not key.startswith(_PROCESSES)
            ):
                found[key] = Held(size, left_ms)
        if not cursor:
            return found


def outlasting(held: Mapping[bytes, Held], seconds: float) -> dict[bytes, Held]:
    """Those of the keys that have no expiry, or a later one."""
    most_ms = seconds * 1000
    return {
        key: each
        for key, each in held.items()
        if each.left_ms == -1 or each.left_ms > most_ms
    }
