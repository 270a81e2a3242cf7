"""Users of the console, their passwords and their sessions."""

import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from typing import Any, Final
from uuid import UUID

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerifyMismatchError

from scripts.errors import AlreadyExists, UsageProblem
from scripts.servers import Connection, rows
from scripts.services.administer.access.workspaces import named
from scripts.sql import statements

#: Each may do what those before it may.
ROLES: Final = ("viewer", "operator", "admin")
#: Characters of a password; more would only keep a core busy.
SHORTEST_PASSWORD: Final = 12
LONGEST_PASSWORD: Final = 1024
_LONGEST_NAME: Final = 100

_SQL: Final = statements("services/administer/access/users")
_HASHER: Final = PasswordHasher()


@dataclass(frozen=True, slots=True)
class User:
    """Somebody who is signed in; `workspaces` is None for the whole installation."""

    name: str
    role: str
    workspaces: frozenset[UUID] | None = None

    def may(self, role: str) -> bool:
        return ROLES.index(self.role) >= ROLES.index(role)

    def sees(self, workspace: UUID | None) -> bool:
        """Whether what belongs to a workspace, None: to the installation, is theirs to see."""
        return self.workspaces is None or workspace in self.workspaces


async def add(
    connection: Connection,
    name: str,
    role: str,
    workspaces: Sequence[str],
    password: str | None,
) -> None:
    """Make a user of the named workspaces, or of the installation where none is named.

    Without a password only a proxy signs it in. Raises UsageProblem, AlreadyExists.
    """
    if not 0 < len(name) <= _LONGEST_NAME or not name.isprintable():
        raise UsageProblem(
            f"{name!r} is no user's name.",
            f"give 1 to {_LONGEST_NAME} printable characters.",
        )
    ids = [(await named(connection, each)).id for each in workspaces] or None
    hashed = None if password is None else hash_password(password)
    if not await connection.fetchval(_SQL["add"], name, role, ids, hashed):
        raise AlreadyExists(
            f"There is a user {name!r} already.", "choose another name."
        )


async def listed(connection: Connection) -> list[dict[str, Any]]:
    return await rows(connection, _SQL["list"])


async def remove(connection: Connection, name: str) -> None:
    """Remove a user and end its sessions. Raises UsageProblem for an unknown one."""
    _require(await connection.fetchval(_SQL["remove"], name), name)


async def change_password(connection: Connection, name: str, password: str) -> None:
    """Set a password and end the user's sessions. Raises UsageProblem."""
    hashed = hash_password(password)
    _require(await connection.fetchval(_SQL["password"], name, hashed), name)


def hash_password(password: str) -> str:
    """Argon2id. Raises UsageProblem for one that is too short or too long."""
    if not SHORTEST_PASSWORD <= len(password) <= LONGEST_PASSWORD:
        raise UsageProblem(
            f"The password has {len(password)} characters.",
            f"give one of {SHORTEST_PASSWORD} to {LONGEST_PASSWORD} characters.",
        )
    hashed: str = _HASHER.hash(password)
    return hashed


def is_password(hashed: str | None, password: str) -> bool:
    """Takes as long for a user that does not exist, or has no password."""
    try:
        _HASHER.verify(hashed or _nobodys(), password)
    except (VerifyMismatchError, InvalidHashError):
        return False
    return hashed is not None


@cache
def _nobodys() -> str:
    return hash_password(secrets.token_hex())


async def find(
    connection: Connection, name: str
) -> tuple[int, User, str | None] | None:
    """A user's number, itself and the hash of its password."""
    row = await connection.fetchrow(_SQL["named"], name)
    return None if row is None else (row["id"], _user(row), row["password"])


async def sign_in(connection: Connection, number: int) -> str:
    """The token of a new session of a user."""
    token = secrets.token_urlsafe(32)
    await connection.execute(_SQL["sign_in"], token_hash(token), number)
    return token


async def sign_out(connection: Connection, token: str) -> None:
    await connection.execute(_SQL["sign_out"], token_hash(token))


async def known(connection: Connection, keys: Iterable[str]) -> dict[str, User]:
    """The users of keys that are good: of sessions, or of names that a proxy vouches for."""
    sessions, names = [], []
    for key in keys:
        kind, _, value = key.partition(" ")
        if kind == "session":
            sessions.append(bytes.fromhex(value))
        else:
            names.append(value)
    found = await connection.fetch(_SQL["known"], sessions, names)
    return {row["key"]: _user(row) for row in found}


def session_key(token: str) -> str:
    return f"session {token_hash(token).hex()}"


def name_key(name: str) -> str:
    return f"name {name}"


def token_hash(token: str) -> bytes:
    return sha256(token.encode("utf-8", "replace")).digest()


def _user(row: Any) -> User:
    workspaces = row["workspaces"]
    theirs = None if workspaces is None else frozenset(workspaces)
    return User(row["name"], row["role"], theirs)


def _require(found: object, name: str) -> None:
    if found is None:
        raise UsageProblem(
            f"There is no user {name!r}.", "see `reftide console users list`."
        )
