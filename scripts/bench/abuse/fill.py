"""Requests of all kinds from rotating addresses: what is left of them in Redis, and until when."""

import asyncio
import itertools
import time
from collections import Counter
from dataclasses import dataclass, replace
from typing import Final

import orjson

from scripts.bench.abuse import others
from scripts.bench.abuse.attacks import example
from scripts.bench.environment.runs import Pair, Result, tell
from scripts.bench.environment.servers import BenchServers, prepared
from scripts.bench.load.http import Connections, body_of, framed, status_of
from scripts.bench.load.keyless import Call, Held, fill, outlasting, survey
from scripts.bench.load.recording import empty
from scripts.bench.load.traffic import PATH
from scripts.environment import Environment

#: A day lasts as long, and so does the attribution window.
_WINDOW_SECONDS: Final = 30
#: Limits count by the minute, however long a day is.
_LIMIT_SECONDS: Final = 120
_SECONDS: Final = 10.0
_SURVEYS: Final = 10
_PAUSE_SECONDS: Final = 0.02
_MOST_SECONDS: Final = 300.0
_AS_BEFORE: Final = 1.05
_WINDOW: Final = "update programs set attribution_window_days = 1"


@dataclass(slots=True)
class _Found:
    """What keys there were: before, at most, at last; and what others were answered."""

    before: int = 0
    most: int = 0
    after: int = 0
    lasting: int = 0
    seconds: float = 0.0

    def see(self, held: dict[bytes, Held], known: dict[bytes, Held]) -> None:
        self.after = sum(each.bytes for each in held.values())
        self.most = max(self.most, self.after)
        caused = {key: each for key, each in held.items() if key not in known}
        limits = {key for key in caused if key.startswith(b"rt:limit:")}
        late = outlasting(caused, _WINDOW_SECONDS).keys() - limits
        self.lasting += len(late) + len(outlasting(caused, _LIMIT_SECONDS))


def filled(
    environment: Environment, load: others.Load, requests: int, seed: int
) -> Result:
    """Memory of keys without streams after so many requests and a window, against before."""
    with prepared(environment) as made:
        variables = {
            **made.environment.variables,
            "REFTIDE_DAY_SECONDS": str(_WINDOW_SECONDS),
        }
        hastened = Environment(variables, made.environment.clock)
        servers = replace(made, environment=hastened)
        asyncio.run(_shorten(servers))
        with load.start(servers) as contender:
            found, answers, honest = asyncio.run(
                _fill(servers, contender.port, requests, seed)
            )
    return Result(
        name="abuse",
        unit="bytes",
        pairs=[Pair(found.after, found.before)],
        conditions={
            "baseline": "before the requests",
            "window_seconds": _WINDOW_SECONDS,
        },
        more={
            "keys": {
                "bytes_at_most": found.most,
                "outlasting_the_window": found.lasting,
                "seconds_until_as_before": round(found.seconds),
            },
            "answers": {
                str(status): count for status, count in sorted(answers.items())
            },
            "answers_to_another_workspace": {str(key): n for key, n in honest.items()},
        },
    )


async def _shorten(servers: BenchServers) -> None:
    await others.add_other(servers)
    async with servers.postgres() as connection:
        await connection.execute(_WINDOW)
    await empty(servers)


async def _fill(
    servers: BenchServers, port: int, requests: int, seed: int
) -> tuple[_Found, Counter[int], Counter[int]]:
    server, found, answers = Connections(port, _SECONDS), _Found(), Counter[int]()

    async def send(call: Call) -> tuple[int, bytes]:
        lines = "".join(f"{name}: {text}\r\n" for name, text in call.headers.items())
        answer = await server.ask(framed(call.path, lines, call.body))
        return status_of(answer), body_of(answer)

    over = asyncio.Event()
    async with servers.redis() as redis, asyncio.TaskGroup() as tasks:
        known = await survey(redis)
        found.before = sum(each.bytes for each in known.values())
        honest = tasks.create_task(_others_click(port, over))
        step = -(-requests // _SURVEYS)
        for first in range(0, requests, step):
            answers += await fill(send, step, first=seed * requests + first)
            found.see(await survey(redis), known)
            tell(f"{answers.total():,} requests: {found.after:,} bytes")
        # Theirs expires too: from here on nobody leaves anything.
        over.set()
        await honest
        began = time.monotonic()
        while found.after > _AS_BEFORE * found.before and found.seconds < _MOST_SECONDS:
            await asyncio.sleep(1)
            found.see(await survey(redis), known)
            found.seconds = time.monotonic() - began
    server.close()
    return found, answers, honest.result()


async def _others_click(port: int, over: asyncio.Event) -> Counter[int]:
    """What clicks on a link of another workspace are answered meanwhile."""
    server, body = Connections(port, _SECONDS), orjson.dumps(example(others.CODE))
    statuses = Counter[int]()
    for number in itertools.count():
        if over.is_set():
            break
        address = f"X-Forwarded-For: 198.51.{number >> 8 & 255}.{number & 255}\r\n"
        statuses[status_of(await server.ask(framed(PATH, address, body)))] += 1
        await asyncio.sleep(_PAUSE_SECONDS)
    server.close()
    return statuses
