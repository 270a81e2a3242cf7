"""Just enough of both protocols to ask a server whether it serves.

Blocking, with short timeouts; used by the servers from their starting thread. A real
answer of the server is the only proof that it is ready: a socket file, an accepted
connection or a living process prove nothing.
"""

import socket
import struct
from collections.abc import Callable
from pathlib import Path

_TIMEOUT_S = 2.0
_PROTOCOL_3_0 = 196_608
_AUTHENTICATION_OK = b"\0\0\0\0"


class PostgresReply(Exception):
    """An error message of PostgreSQL: its SQLSTATE and its text."""

    def __init__(self, sqlstate: str, message: str) -> None:
        super().__init__(f"{message} ({sqlstate})")
        self.sqlstate = sqlstate


def ping_valkey(path: Path) -> bytes:
    """Return the first line of the answer to PING; OSError when there is none."""
    with _connect(path) as connection:
        connection.sendall(b"PING\r\n")
        return connection.recv(512).partition(b"\r\n")[0]


def ask_postgres(path: Path, database: str, sql: str = "") -> None:
    """Connect as `reftide`, run `sql`, and read to the end of the answer.

    Raises `PostgresReply` for an error of the server, OSError when it does not answer.
    The format of the messages is in the chapter "Frontend/Backend Protocol" of
    PostgreSQL's manual.
    """
    parameters = f"user\0reftide\0database\0{database}\0\0".encode()
    startup = struct.pack("!II", len(parameters) + 8, _PROTOCOL_3_0) + parameters
    with _connect(path) as connection, connection.makefile("rb") as stream:
        connection.sendall(startup)
        _until_ready(stream.read)
        if sql:
            query = sql.encode() + b"\0"
            connection.sendall(b"Q" + struct.pack("!I", len(query) + 4) + query)
            _until_ready(stream.read)
        connection.sendall(b"X\0\0\0\4")


def _connect(path: Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(_TIMEOUT_S)
    try:
        connection.connect(str(path))
    except OSError:
        connection.close()
        raise
    return connection


def _until_ready(read: Callable[[int], bytes]) -> None:
    """Read messages up to ReadyForQuery; raise the error among them, if any."""
    while True:
        head = read(5)
        if len(head) < 5:  # noqa: PLR2004 - one byte of kind, four of length
            raise ConnectionError("PostgreSQL closed the connection")
        kind, length = head[:1], struct.unpack("!I", head[1:])[0]
        body = read(length - 4)
        if kind == b"E":
            raise _reply(body)
        if kind == b"R" and body != _AUTHENTICATION_OK:
            raise PostgresReply("28000", "PostgreSQL asks for a password")
        if kind == b"Z":
            return


def _reply(body: bytes) -> PostgresReply:
    pairs = (field.decode("utf-8", "replace") for field in body.split(b"\0"))
    fields = {field[0]: field[1:] for field in pairs if field}
    return PostgresReply(fields.get("C", ""), fields.get("M", ""))
