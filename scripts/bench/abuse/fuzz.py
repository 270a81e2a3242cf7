"""Requests changed at random: no answer may be a 5xx, and none may take a second."""

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import islice
from random import Random
from time import monotonic
from typing import Final

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

from scripts.bench.abuse.corpus import bodies, shapes
from scripts.bench.abuse.samples import forwarded, samples
from scripts.bench.environment.loops import runner
from scripts.bench.environment.processes import edges
from scripts.bench.environment.runs import Pair, Result, tell
from scripts.bench.environment.servers import prepared
from scripts.bench.load.http import Connections, status_of
from scripts.environment import Environment

_HUNG_SECONDS: Final = 1.0
#: The machine may have been busy.
_TURNS: Final = 3
_AT_ONCE: Final = 8
_SHOWN: Final = 10
_SHOWN_BYTES: Final = 1_000
#: For an edge to read half a request.
_HALF_SECONDS: Final = 0.001
_HOST: Final = b"Host: x\r\n"
_MS: Final = 1000
_MOST_CHANGES: Final = 8
_CHANGES: Final = ("replace", "cut", "double", "word", "splice")
_KEYS: Final = (
    b"",
    b"Authorization: Bearer YOUR_API_KEY\r\n",
    b"X-API-Key: bq_live_your_key\r\n",
)
_WORDS: Final = (
    *(b"\r\n", b"\n", b"\r", b"\0", b" ", b":", b",", b'"', b"\\", b"{", b"}", b"[", b"]"),
    *(b"%00", b"%ff", rb"\ud800", b"\xff", b"\xc2\x85", b"9" * 30, b"-1", b"1e999", b"null"),
    *(b"chunked", b"Transfer-Encoding: chunked\r\n", b"Content-Length: 5\r\n", b"0\r\n\r\n"),
    *(b"Connection: close\r\n", b"Expect: 100-continue\r\n", b"Upgrade: h2c\r\n"),
    *(b"Content-Encoding: gzip\r\n", b"X-Forwarded-For: ::\r\n", b"Idempotency-Key: 1\r\n"),
    *(b"HTTP/1.0", b"GET ", b"OPTIONS ", b"PUT ", b"/../", b"//", b"?", b"#", b"x" * 9_000),
)  # fmt: skip


def seeds(code: str) -> Sequence[bytes]:
    """What is changed: examples of all routes with hostile bodies, and hostile shapes."""
    found = [each.request(body) for each in samples() for body in bodies(each.body)]
    whole = [each.whole for each in samples()]
    click = b'{"affiliate_url":"https://yoursite.com/?aff=%b"}' % code.encode()
    raws = [shape.raw for shape in shapes("/api/v1/track/click", click)]
    return found + (whole + raws) * (len(found) // (len(whole) + len(raws)) or 1)


def changed(dice: Random, raw: bytes, other: bytes) -> bytes:
    """A request with some of its bytes flipped, cut out, doubled, or of another one."""
    made = bytearray(raw)
    for _ in range(dice.randrange(_MOST_CHANGES)):
        start = dice.randrange(len(made) + 1)
        stop = min(len(made), start + int(dice.expovariate(1 / 8)))
        change = dice.choice(_CHANGES)
        if change == "replace":
            made[start:stop] = dice.randbytes(stop - start)
        elif change == "cut":
            del made[start:stop]
        elif change == "double":
            made[start:start] = made[start:stop] * dice.randrange(1, 4)
        elif change == "word":
            made[start:stop] = dice.choice(_WORDS)
        else:
            made[start:stop] = other[start : stop + dice.randrange(40)]
    return bytes(made)


class _Seen:
    is_whole = False

    def on_message_complete(self) -> None:
        self.is_whole = True


def is_answered(raw: bytes) -> bool:
    """Whether an answer is due: a request is complete, or cannot become one."""
    seen = _Seen()
    try:
        HttpRequestParser(seen).feed_data(raw)
    except HttpParserError:
        return True
    except HttpParserUpgrade:
        return False
    return seen.is_whole


class _Fuzz:
    """Sends requests, and keeps what came of them."""

    def __init__(self, port: int, requests: Iterator[bytes]) -> None:
        self._server = Connections(port, _HUNG_SECONDS, are_kept=False)
        self._requests = requests
        self.answers: Counter[str] = Counter()
        self.longest = 0.0
        #: Requests with a 5xx, or without an answer within a second.
        self.bad: list[str] = []

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            for _ in range(_AT_ONCE):
                tasks.create_task(self._send())

    async def _send(self) -> None:
        for raw in self._requests:
            outcome = await self._outcome(raw)
            self.answers[outcome] += 1
            if outcome[0] == "5" or outcome == "none":
                self.bad.append(f"{outcome}: {raw[:_SHOWN_BYTES]!r}")

    async def _outcome(self, raw: bytes) -> str:
        if not is_answered(raw):
            connection = await self._server.open()
            connection.ask(raw, lambda _: None)
            await asyncio.sleep(_HALF_SECONDS)
            connection.end()
            return "half"
        for _ in range(_TURNS):
            began = monotonic()
            with suppress(TimeoutError, OSError):
                answer = await self._server.ask(raw)
                self.longest = max(self.longest, monotonic() - began)
                return str(status_of(answer))
        return "none"


def fuzz(environment: Environment, *, requests: int, seed: int) -> Result:
    """Send so many; the longest answer, against what counts as a hang."""
    with prepared(environment) as servers, edges(servers) as (port, _):
        sender = _Fuzz(port, islice(_hostile(servers.codes[0], seed), requests))
        with runner() as loop:
            loop.run(sender.run())
    answers = sender.answers
    for bad in sender.bad[:_SHOWN]:
        tell(bad)
    return Result(
        name="abuse",
        unit="ms",
        pairs=[Pair(sender.longest * _MS, _HUNG_SECONDS * _MS)],
        conditions={"baseline": "what counts as a hang"},
        digits=1,
        more={
            "requests": {
                "sent": answers.total(),
                "5xx": sum(n for status, n in answers.items() if status[0] == "5"),
                "without_answer": answers["none"],
            },
            "answers": dict(sorted(answers.items())),
        },
    )


def _hostile(code: str, seed: int) -> Iterator[bytes]:
    dice, made = Random(seed), seeds(code)  # noqa: S311 -- the same requests every time
    while True:
        lines = forwarded(dice) + dice.choice(_KEYS)
        raw = dice.choice(made).replace(_HOST, _HOST + lines, 1)
        yield changed(dice, raw, dice.choice(made))
