"""Servers of streams behind TLS, with users and passwords.

The Valkey of tests has no TLS of its own, so a relay on loopback has it, as stunnel would.
"""

import asyncio
import ssl
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import quote

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from scripts.bench.environment.processes import free_port
from tests.support.servers.valkey import Valkey, running_valkey
from tests.support.streams.cluster import running_cluster

USER = "reftide"
#: With all that means something in a URL, or in a list of them.
PASSWORD = "s,e@c:r/e?t%20#redis://a"
_RIGHTS = "resetkeys ~rt:* ~{rt:*}:* +@all -@admin -@dangerous +info +config|get"
#: Tests themselves ask as `default`, by the socket.
_USERS = f"user default on nopass ~* &* +@all\nuser {USER} on >{PASSWORD} {_RIGHTS}\n"
_CHUNK = 1 << 16


@dataclass(frozen=True)
class Encrypted:
    """A server, and the relay in front of it."""

    server: Valkey
    port: int
    authority: Path

    def url(self, *, password: str = PASSWORD, trusts: bool = True) -> str:
        """As a client gives it, which may not trust who certified the server."""
        user = f"{USER}:{quote(password, safe='')}"
        query = f"?ssl_ca_certs={self.authority}" if trusts else ""
        return f"rediss://{user}@127.0.0.1:{self.port}/0{query}"

    @property
    def name(self) -> str:
        """What it is called in messages."""
        return f"127.0.0.1:{self.port}"


@asynccontextmanager
async def encrypted(home: Path, servers: int = 3) -> AsyncIterator[list[Encrypted]]:
    """So many of them; each has a certificate for 127.0.0.1."""
    authority, context = _certified(home)
    async with AsyncExitStack() as stack:
        found = []
        for _ in range(servers):
            server = stack.enter_context(
                running_valkey("everysec", port=True, users=_USERS)
            )
            port = free_port()
            await stack.enter_async_context(_relay(server, port, context))
            found.append(Encrypted(server, port, authority))
        yield found


@asynccontextmanager
async def encrypted_cluster(home: Path) -> AsyncIterator[str]:
    """The URL of a cluster whose nodes are behind TLS."""
    authority, context = _certified(home)
    ports = [free_port() for _ in range(3)]
    async with AsyncExitStack() as stack:
        cluster = stack.enter_context(running_cluster(announced=ports, users=_USERS))
        for node, port in zip(cluster.primaries, ports, strict=True):
            await stack.enter_async_context(_relay(node.server, port, context))
        user = f"{USER}:{quote(PASSWORD, safe='')}"
        seeds = ",".join(f"127.0.0.1:{port}" for port in ports[1:])
        yield f"rediss+cluster://{user}@{seeds}?ssl_ca_certs={authority}"


@asynccontextmanager
async def _relay(
    server: Valkey, port: int, context: ssl.SSLContext
) -> AsyncIterator[None]:
    running: set[asyncio.Task[None]] = set()

    async def serve(reader: StreamReader, writer: StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        running.add(task)
        try:
            there = await asyncio.open_unix_connection(str(server.socket))
            async with asyncio.TaskGroup() as group:
                group.create_task(_pass_on(reader, there[1]))
                group.create_task(_pass_on(there[0], writer))
        finally:
            running.discard(task)

    listening = await asyncio.start_server(serve, "127.0.0.1", port, ssl=context)
    try:
        yield
    finally:
        listening.close()
        ending = [*running]
        for task in ending:
            task.cancel()
        if ending:
            await asyncio.wait(ending)


async def _pass_on(reader: StreamReader, writer: StreamWriter) -> None:
    """Until either side ends, which ends the other."""
    try:
        with suppress(OSError, ssl.SSLError):
            while data := await reader.read(_CHUNK):
                writer.write(data)
                await writer.drain()
    finally:
        writer.close()


def _certified(home: Path) -> tuple[Path, ssl.SSLContext]:
    """A certificate that vouches for itself, as a file to trust and for the servers."""
    key = ec.generate_private_key(ec.SECP256R1())
    public = key.public_key()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tests")])
    now = datetime.now(UTC)  # noqa: TID251 -- what clients compare it with
    usage = x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
    address = x509.IPAddress(ip_address("127.0.0.1"))
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=30))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(
            x509.SubjectKeyIdentifier.from_public_key(public), critical=False
        )
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(public), critical=False
        )
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    public_pem = certificate.public_bytes(serialization.Encoding.PEM)
    authority, both = home / "authority.pem", home / "server.pem"
    authority.write_bytes(public_pem)
    both.write_bytes(private + public_pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(both)
    return authority, context
