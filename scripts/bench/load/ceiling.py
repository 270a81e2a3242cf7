"""`python -m scripts.bench.load.ceiling PORT`: answers at once, to see what a generator can do.

It looks for the end of a request and sends the same bytes back, which is less work than
any HTTP server does. Started by `load`.
"""

import asyncio
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, cast

from typing_extensions import override

from scripts.bench.environment.children import free_port, serving
from scripts.bench.loops import runner

_ANSWER: Final = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


@contextmanager
def serving_at_once(data: Path) -> Iterator[int]:
    """Such a server in a process of its own, for the length of a `with`: its port."""
    port = free_port()
    module = "scripts.bench.load.ceiling"
    with serving(module, [str(port)], port, data / "ceiling.log"):
        yield port


class _AtOnce(asyncio.Protocol):
    """Generators wait for an answer before they ask again, so a request ends a read."""

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    @override
    def data_received(self, data: bytes) -> None:
        if data.endswith((b"}", b"]")):
            self._transport.write(_ANSWER)


async def _serve(port: int) -> None:
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    await loop.create_server(_AtOnce, "127.0.0.1", port)
    await stop.wait()


def main() -> None:
    with runner() as loop:
        loop.run(_serve(int(sys.argv[1])))


if __name__ == "__main__":
    main()
