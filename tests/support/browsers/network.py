"""The internet as the browsers of tests see it: one proxy behind which every host is.

Pages and what is wrong with the network are given by the test. What is for the edge goes to
a real one. Connections are cold and far away where the test says so.
"""

import asyncio
import ssl
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import monotonic
from typing import Literal, NamedTuple, Self
from urllib.parse import urlsplit

import aiohttp
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

#: Where browsers find the edge.
EDGE = "events.reftide.example"


class Seen(NamedTuple):
    """A request that came through."""

    at: float
    method: str
    host: str
    path: str
    headers: Mapping[str, str]
    body: bytes


class Answer(NamedTuple):
    """What a page or a broken network answers."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def page(html: str, **headers: str) -> Answer:
    said = {"Content-Type": "text/html; charset=utf-8", "Cache-Control": "max-age=60"}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(200, {**said, **named}, html.encode())


#: A connection that is cut before the answer.
Cut = Literal["cut"]
#: What becomes of a request; None leaves it alone.
Fault = Callable[[Seen], Answer | Cut | None]


@dataclass
class Network:
    """Hosts and their pages, and what happens on the way to them."""

    edge: str
    #: Seconds of a round trip: for a connection, for TLS, and for each request.
    rtt: float = 0.0
    #: By host and path; `*` stands for all hosts, and for all paths.
    pages: dict[tuple[str, str], Answer] = field(default_factory=dict)
    fault: Fault | None = None
    seen: list[Seen] = field(default_factory=list)
    #: What the visitor's provider lends him.
    address: str = "10.9.0.1"
    port: int = 0

    def tracked(self, method: str = "POST") -> list[Seen]:
        """The requests for the edge's tracker routes."""
        return [
            each
            for each in self.seen
            if each.host == EDGE and each.path[:3] == "/t/" and each.method == method
        ]

    @asynccontextmanager
    async def running(self, home: Path) -> AsyncIterator[Self]:
        context = _certified(home)
        async with aiohttp.ClientSession(auto_decompress=False) as session:

            async def serve(reader: StreamReader, writer: StreamWriter) -> None:
                connection = _Connection(self, session, reader, writer)
                try:
                    with suppress(OSError, ssl.SSLError, asyncio.IncompleteReadError):
                        await connection.serve(context)
                finally:
                    writer.close()

            server = await asyncio.start_server(serve, "127.0.0.1", 0)
            self.port = server.sockets[0].getsockname()[1]
            try:
                yield self
            finally:
                server.close()


class _Connection:
    def __init__(
        self,
        network: Network,
        session: aiohttp.ClientSession,
        reader: StreamReader,
        writer: StreamWriter,
    ) -> None:
        self._network, self._session = network, session
        self._reader, self._writer = reader, writer

    async def serve(self, context: ssl.SSLContext) -> None:
        host = ""
        while True:
            head = await self._head()
            if head is None:
                return
            method, target, headers = head
            if method == "CONNECT":
                host = target.rpartition(":")[0]
                # Once for the connection and once for TLS, whose first bytes come at once.
                await asyncio.sleep(2 * self._network.rtt)
                self._writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
                await self._writer.drain()
                await self._writer.start_tls(context)
                continue
            body = await self._reader.readexactly(int(headers.get("content-length", 0)))
            url = urlsplit(target)
            path = f"{url.path or '/'}{f'?{url.query}' if url.query else ''}"
            seen = Seen(
                monotonic(), method, host or url.hostname or "", path, headers, body
            )
            if not await self._answer(seen):
                return

    async def _head(self) -> tuple[str, str, dict[str, str]] | None:
        try:
            raw = await self._reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:
            return None
        first, *lines = raw.decode("latin-1").rstrip("\r\n").split("\r\n")
        method, target, _ = first.split(" ")
        pairs = (line.partition(":") for line in lines)
        return method, target, {name.lower(): value.strip() for name, _, value in pairs}

    async def _answer(self, seen: Seen) -> bool:
        """Answer a request; false where the connection is cut instead."""
        network = self._network
        network.seen.append(seen)
        await asyncio.sleep(network.rtt)
        found = network.fault(seen) if network.fault else None
        if found == "cut":
            return False
        if found is None:
            found = await self._relayed(seen) if seen.host == EDGE else self._page(seen)
        headers = {**found.headers, "Content-Length": str(len(found.body))}
        if network.rtt:  # so that the next connection is a new one, too
            headers["Connection"] = "close"
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        head = f"HTTP/1.1 {found.status} X\r\n{lines}\r\n".encode("latin-1")
        self._writer.write(head + (b"" if seen.method == "HEAD" else found.body))
        await self._writer.drain()
        return not network.rtt

    def _page(self, seen: Seen) -> Answer:
        pages, path = self._network.pages, seen.path.partition("?")[0]
        for key in ((seen.host, path), (seen.host, "*"), ("*", path), ("*", "*")):
            if key in pages:
                return pages[key]
        return Answer(404, {"Content-Type": "text/plain"}, b"")

    async def _relayed(self, seen: Seen) -> Answer:
        hop = {"content-length", "connection", "proxy-connection"}
        headers = {k: v for k, v in seen.headers.items() if k not in hop}
        headers["X-Forwarded-For"] = self._network.address
        url = self._network.edge.rstrip("/") + seen.path
        asked = self._session.request(
            seen.method, url, data=seen.body, headers=headers, allow_redirects=False
        )
        async with asked as answer:
            body = await answer.read()
        dropped = {"content-length", "transfer-encoding", "connection"}
        kept = {k: v for k, v in answer.headers.items() if k.lower() not in dropped}
        return Answer(answer.status, kept, body)


def _certified(home: Path) -> ssl.SSLContext:
    """TLS with a certificate that nobody vouches for; the browsers are told not to mind."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tests")])
    now = datetime.now(UTC)  # noqa: TID251 -- what browsers compare it with
    hosts = [x509.DNSName(each) for each in (EDGE, "*.example", "*.shop.example")]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=30))
        .add_extension(x509.SubjectAlternativeName(hosts), critical=False)
        .sign(key, hashes.SHA256())
    )
    file = home / "tls.pem"
    file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return context
