"""`python -m scripts.bench.generator PORT BODIES CONNECTIONS SECONDS PART`: clicks as fast as can be.

One of the processes that make load where wrk is not installed; started by `load`. Every
connection has one request out at all times, so that the server is never idle and decides
the rate. It speaks just the HTTP/1.1 that aiohttp answers in, several times quicker than a
client that speaks all of it.

It says `ready` when it is connected, begins when it is told anything on standard input, and
ends with one line of JSON: `requests` answered within the seconds, and `failure`, an answer
that was not 200, if there was one.
"""

import asyncio
import sys
from collections.abc import Iterator
from itertools import count, cycle
from pathlib import Path
from typing import Final, cast

import orjson
from typing_extensions import override

from scripts.bench.loops import runner
from scripts.bench.traffic import PATH, address

_HEAD_END: Final = b"\r\n\r\n"
_LENGTH: Final = b"content-length:"
_SHOWN: Final = 300
#: Parts begin this many addresses apart, so that no two click as one visitor.
PART: Final = 40_000


class _Load:
    """What the connections share: the requests, and what came of them."""

    def __init__(self, requests: Iterator[bytes]) -> None:
        self._requests = requests
        self.answered = 0
        self.failure: str | None = None
        self.is_on = True

    def next(self) -> bytes:
        return next(self._requests)

    def take(self, answer: bytes) -> None:
        """Count a whole answer."""
        if answer[9:12] == b"200":
            self.answered += 1
        else:
            self.fail(answer[:_SHOWN].decode("latin-1"))

    def fail(self, why: str) -> None:
        if self.is_on:
            self.failure = self.failure or why


class _Connection(asyncio.Protocol):
    """Asks, waits for the whole answer, asks again."""

    def __init__(self, load: _Load) -> None:
        self._load = load
        self._read = b""

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    @override
    def data_received(self, data: bytes) -> None:
        self._read = self._read + data if self._read else data
        if not self._load.is_on or not is_whole(self._read):
            return
        self._load.take(self._read)
        self._read = b""
        self.ask()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._load.fail(f"the connection was closed: {exc}")

    def ask(self) -> None:
        self._transport.write(self._load.next())


def is_whole(answer: bytes) -> bool:
    """Whether all of an answer is there. Its head must say how long its body is."""
    end = answer.find(_HEAD_END)
    if end < 0:
        return False
    head = answer[:end].lower()
    _, _, rest = head.partition(_LENGTH)
    length = int(rest.partition(b"\r\n")[0])
    return len(answer) >= end + len(_HEAD_END) + length


def requests(bodies: list[bytes], first: int) -> Iterator[bytes]:
    """Whole requests without end, each of another visitor."""
    framed = [_framed(body) for body in bodies]
    numbers = count(first)
    for head, tail in cycle(framed):
        yield head + address(next(numbers)).encode() + tail


def _framed(body: bytes) -> tuple[bytes, bytes]:
    head = (
        f"POST {PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: reftide-bench\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        "X-Forwarded-For: "
    )
    return head.encode(), _HEAD_END + body


async def _run(port: int, load: _Load, connections: int, seconds: int) -> None:
    loop = asyncio.get_running_loop()
    opened = [
        await loop.create_connection(lambda: _Connection(load), "127.0.0.1", port)
        for _ in range(connections)
    ]
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await loop.run_in_executor(None, sys.stdin.readline)
    for _, protocol in opened:
        protocol.ask()
    await asyncio.sleep(seconds)
    load.is_on = False
    for transport, _ in opened:
        transport.abort()


def main() -> None:
    port, file, connections, seconds, part = sys.argv[1:]
    bodies = Path(file).read_bytes().splitlines()
    load = _Load(requests(bodies, int(part) * PART))
    with runner() as loop:
        loop.run(_run(int(port), load, int(connections), int(seconds)))
    result = {"requests": load.answered, "failure": load.failure}
    sys.stdout.write(f"{orjson.dumps(result).decode()}\n")


if __name__ == "__main__":
    main()
