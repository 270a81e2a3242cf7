"""Follows the requests of a connection that aiohttp has.

It knows what aiohttp does not tell: whether a request has begun behind the last one. And it
bounds the lines before chunks, which aiohttp reads without end.
"""

from typing import Final

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

#: Of a chunk's size and extensions, at least; aiohttp's own bound for other lines.
_LINE_BYTES: Final = 8190
_PIECE_BYTES: Final = 4096
#: aiohttp refuses it in such a line, in the words of the route.
_REFUSED: Final = b"\0"


class Framing:
    """Where requests begin and end."""

    #: Whether a request has begun and is not complete, as far as that can be told.
    has_begun = False

    def __init__(self) -> None:
        self._is_followed = True
        self._is_refused = False
        #: Bytes since the parser has said something.
        self._still = 0
        # Called by the parser, which looks for them when it is made.
        self.on_url = self.on_header = self.on_body = self._move
        self.on_chunk_header = self.on_chunk_complete = self._move
        self._parser = HttpRequestParser(self)

    def follow(self, data: bytes) -> bytes:
        """What aiohttp may have of what came: all of it, unless a line is too long."""
        if self._is_refused:
            return b""
        for start in range(0, len(data) if self._is_followed else 0, _PIECE_BYTES):
            piece = data[start : start + _PIECE_BYTES]
            self._still += len(piece)
            self._read(piece)
            if self._still > _LINE_BYTES:
                self._is_refused = True
                return data[:start] + _REFUSED
        return data

    def _read(self, piece: bytes) -> None:
        try:
            self._parser.feed_data(piece)
        except (HttpParserError, HttpParserUpgrade):
            # aiohttp refuses it, or takes what follows for more requests.
            self._is_followed = False
            self.has_begun = True
            self._still = 0

    def _move(self, *_: object) -> None:
        self._still = 0

    def on_message_begin(self) -> None:
        self.has_begun = True
        self._still = 0

    def on_message_complete(self) -> None:
        self.has_begun = False
        self._still = 0
