"""Hostile requests, byte by byte, and what holds for the answer to each.

Tests send every one of them down both ways through an edge, the fast path and aiohttp;
measurements send them beside honest traffic, and change their bytes at random.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

import orjson

_HOST: Final = b"Host: x\r\n"
_LENGTH: Final = b"Length: "
_CODED: Final = b"Transfer-Encoding: chunked\r\n"
_CHUNKS: Final = b"\r\n0\r\n\r\n"


class Shape(NamedTuple):
    """A hostile request. After its answer, of this status, the connection is closed."""

    name: str
    raw: bytes
    status: int = 400


def shapes(path: str, body: bytes) -> Iterator[Shape]:
    """Requests to a route that are none, or that could be read in two ways."""
    head = b"POST %b HTTP/1.1\r\n%b" % (path.encode(), _HOST)
    whole = b"%bContent-Length: %d\r\n\r\n%b" % (head, len(body), body)
    yield from no_requests(whole)
    for name, raw in _smuggled(whole, head + _CODED):
        yield Shape(name, raw)
    for chunks in _BAD_CHUNKS:
        yield Shape(repr(chunks), head + _CODED + b"\r\n" + chunks + whole)
    size = b"%x;x=y\r\n%b\r\n2;" % (len(body), body)
    endless = _CODED + b"\r\n" + size + b"y" * 20_000
    yield Shape("endless extensions", head + endless)
    many = b"\r\n" + b"1\r\n \r\n" * 8_000 + b"0\r\n"
    yield Shape("a chunk for each byte", head + _CODED + many + b"\r\n")
    trailers = b"\r\n0\r\n" + b"X: y\r\n" * 10_000
    yield Shape("endless trailers", head + _CODED + trailers + b"\r\n")
    upgrade = b"Connection: Upgrade\r\nUpgrade: miracles\r\n"
    yield Shape("an upgrade with endless extensions", head + upgrade + endless)
    yield Shape(
        "a length of 10**15", head + b"Content-Length: 1%b\r\n\r\n" % (b"0" * 15), 413
    )


def no_requests(whole: bytes) -> Iterator[Shape]:
    """What is no request, made of one that is."""
    for name, old, new in _CHANGES:
        yield Shape(name, whole.replace(old, new, 1))
    yield Shape("HTTP/0.9", b"GET /version\r\n\r\n")
    yield Shape("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"x" * 500)
    yield Shape("no HTTP at all", b"\r\n\r\nEHLO shop.example\r\n")
    yield Shape("HTTP/2 at once", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")


#: What each replaces in a request that is in order, and by what.
_CHANGES: Final = (
    ("a long request line", b" HTTP/", b"?" + b"x" * 9000 + b" HTTP/"),
    ("a header too long", _HOST, _HOST + b"X: " + b"x" * 9000 + b"\r\n"),
    ("too many headers", _HOST, _HOST + b"".join(b"X-%d: x\r\n" % n for n in range(200))),
    ("a long head", _HOST, _HOST + (b"X: " + b"x" * 7000 + b"\r\n") * 9),
    ("endless slashes", b" HTTP/", b"/" * 7000 + b" HTTP/"),
    ("bytes above ASCII in the path", b"/", b"/\xef"),
    ("a NUL in the path", b"/", b"/\0"),
    ("a NUL in a header", b": x", b": x\0y"),
    ("a lone CR in a header", b": x", b": x\ry: z"),
    ("a lone LF in a header", b": x", b": x\ny: z"),
    ("a folded header", b": x", b": x\r\n folded"),
    ("a space before the colon", b"Host:", b"Host :"),
    ("a header without a colon", _HOST, _HOST + b"nothing\r\n"),
    ("a header without a name", _HOST, _HOST + b": nothing\r\n"),
    ("an unknown method", b"POST", b"STEAL"),
    ("a method in lower case", b"POST", b"post"),
    ("another protocol", b"HTTP/1.1", b"HTTQ/1.1"),
    ("a later version", b"HTTP/1.1", b"HTTP/3.0"),
    ("HTTP/2.0 without its preface", b"HTTP/1.1", b"HTTP/2.0"),
    ("a version of three parts", b"HTTP/1.1", b"HTTP/1.1.1"),
    ("two spaces in the first line", b" HTTP/", b" x HTTP/"),
    ("a negative length", _LENGTH, b"Length: -"),
    ("a length with a sign", _LENGTH, b"Length: +"),
    ("a length in hexadecimal", _LENGTH, b"Length: 0x"),
    ("no length", _LENGTH, b"Length: x"),
    ("a length beyond counting", _LENGTH, _LENGTH + b"9" * 30),
)  # fmt: skip

_BAD_CHUNKS: Final = (
    b"-1\r\nx\r\n0\r\n\r\n",
    b"+1\r\nx\r\n0\r\n\r\n",
    b"0x1\r\nx\r\n0\r\n\r\n",
    b"1_0\r\nx\r\n0\r\n\r\n",
    b" 1\r\nx\r\n0\r\n\r\n",
    b"1;\nx\r\n0\r\n\r\n",
    b"1\nx\n0\n\n",
    b"1\r\nxx\r\n0\r\n\r\n",
    b"\r\n1\r\nx\r\n0\r\n\r\n",
    b"ffffffffffffffffff\r\nx\r\n0\r\n\r\n",
)


def _smuggled(whole: bytes, chunked: bytes) -> Iterator[tuple[str, bytes]]:
    """A second request in the body of a first, for a proxy that counts otherwise."""
    length = b"Content-Length: 4\r\n"
    body = _CHUNKS + whole
    yield "length and chunks", chunked + length + body
    yield "chunks and length", chunked.replace(_CODED, length + _CODED) + body
    yield "two lengths", whole.replace(_HOST, _HOST + length)
    yield "a list of lengths", whole.replace(_LENGTH, b"Length: 4, ")
    yield "chunked twice", chunked + _CODED + body
    for given in (
        *(b"xchunked", b"chunked, identity", b"chunked\x0b", b"\x0bchunked"),
        *(b"chunked;q=1", b'"chunked"', b"chunked, chunked", b"", b"identity"),
    ):
        yield repr(given), chunked.replace(b"chunked", given) + length + body
    yield "a tab in the name", chunked.replace(b"Encoding:", b"Encoding\t:") + body
    yield "two hosts", whole.replace(_HOST, _HOST + b"Host: y\r\n")
    yield "chunks of HTTP/1.0", chunked.replace(b"/1.1", b"/1.0") + length + body


#: JSON texts that some parsers take for something else, or cannot take.
_VALUES: Final = (
    b"null", b"true", b"0", b"-0", b"1e400", b"-1e400", b"1e-400", b"9" * 400, b"0.1" * 3,
    b"9007199254740993", b"-9223372036854775809", b"18446744073709551616", b"01", b"1.",
    b"NaN", b"Infinity", b"[]", b"{}", b"[[[[]]]]", b"[" * 40 + b"]" * 40,
    b'{"a":' * 40 + b"1" + b"}" * 40, b'{"__proto__":{"a":1}}', b'{"$ne":null}',
    b'""', rb'"\u0000"', rb'"\ud800"', rb'"\udc00\ud800"', rb'"\ud83d\ude00"', b'"\xff"',
    b'"\xc0\x80"', b'"\xed\xa0\x80"', b'"\0"', b'"\x1b[2J"', '"\u202e\u2028\u0085"'.encode(),
    '"\ufeff"'.encode(), b'"%b"' % ("\ufdfa" * 200).encode(), b"'x'",
    b'"' + b"x" * 60_000 + b'"', b'"\' or 1=1; --"', b'"%00%0d%0a%s%n{0}${jndi:x}"',
)  # fmt: skip
#: URLs, for fields that are read as such.
_URLS: Final = (
    "https://" + "\ufdfa" * 253, "https://[::1", "https://[v1.x]/?aff=a", "https:///?aff=a",
    "https://a:99999999999/?aff=a", "https://u:p@127.0.0.1:6379/?aff=a", "//x?aff=a",
    "https://xn--a/?aff=a", "https://a..b/?aff=a", "javascript:alert(1)", "file:///etc/passwd",
    "https://example.com/?aff=%00", "https://example.com/?aff=%ff&aff=SARAH", "\\\\x\\y",
    "https://example.com/?" + "aff=a&" * 2000, "https://example.com/?aff=" + "%41" * 5000,
)  # fmt: skip


def bodies(example: Mapping[str, Any]) -> Iterator[bytes]:
    """Bodies that are an example's but for one value, or no objects at all."""
    yield from (b"", b"{", b"{}}", b"\xef\xbb\xbf{}", b"{},", b"\0{}", b"\x80", b"nul")
    for value in _VALUES:
        yield value
        for name in (*list(example)[:2], "of_nobody", "additional_data"):
            yield _with(example, name, value)
    for url in _URLS:
        for name, given in example.items():
            if isinstance(given, str) and given.startswith("http"):
                yield _with(example, name, orjson.dumps(url))
    for name in example:  # twice, and in another encoding
        good = orjson.dumps(example)
        yield good[:-1] + b',%b:"twice"}' % orjson.dumps(name)
        yield b"{%b:7," % orjson.dumps(name) + good[1:]
    for coding in ("utf-16", "utf-16-le", "utf-32", "utf-7", "latin-1"):
        yield orjson.dumps(example).decode().encode(coding, "replace")


def _with(example: Mapping[str, Any], name: str, value: bytes) -> bytes:
    kept = {key: each for key, each in example.items() if key != name}
    head = orjson.dumps(kept)[:-1] + (b"," if kept else b"")
    return b"%b%b:%b}" % (head, orjson.dumps(name), value)
