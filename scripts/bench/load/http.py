"""HTTP/1.1 as a busy client speaks it, and no more of it than the servers here need.

A connection carries one request at a time. It is several times quicker than a client that
speaks all of HTTP.
"""

import asyncio
from collections.abc import Callable
from typing import Final, cast

from typing_extensions import override

_HEAD_END: Final = b"\r\n\r\n"
_LENGTH: Final = b"content-length:"


class Connection(asyncio.Protocol):
    """Asks, and tells of the whole answer; `lost` is called when it is closed instead."""

    def __init__(self) -> None:
        self.is_open = False
        self.lost: Callable[[], object] = lambda: None
        self._read = b""
        self._then: Callable[[bytes], None] | None = None

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self.is_open = True

    @override
    def data_received(self, data: bytes) -> None:
        self._read = self._read + data if self._read else data
        if self._then is None or not is_whole(self._read):
            return
        answer, then = self._read, self._then
        self._read, self._then = b"", None
        then(answer)

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        was_open, self.is_open = self.is_open, False
        if was_open:
            self.lost()

    def ask(self, request: bytes, then: Callable[[bytes], None]) -> None:
        """Send a whole request; `then` takes the answer, head and body."""
        self._then = then
        self._transport.write(request)

    def end(self) -> None:
        self.is_open, self._then = False, None
        self._transport.abort()


def framed(path: str, lines: str, body: bytes) -> bytes:
    """A whole POST; `lines` are headers, each with its line break."""
    return (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        f"Content-Length: {len(body)}\r\n{lines}\r\n"
    ).encode() + body


def status_of(answer: bytes) -> int:
    return int(answer[9:12])


def body_of(answer: bytes) -> bytes:
    return answer.partition(_HEAD_END)[2]


def is_whole(answer: bytes) -> bool:
    """Whether all of an answer is there. Its head must say how long its body is."""
    end = answer.find(_HEAD_END)
    if end < 0:
        return False
    _, _, rest = answer[:end].lower().partition(_LENGTH)
    length = int(rest.partition(b"\r\n")[0])
    return len(answer) >= end + len(_HEAD_END) + length
