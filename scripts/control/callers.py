"""Who calls: the API key of a request, and how often it may."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from time import monotonic
from typing import Final
from uuid import UUID

from aiohttp import web

from ingest.contracts import apikey
from ingest.core.client_ip import Proxies
from ingest.rate_limit.local import LocalLimiter
from scripts.control.problems import Problem
from scripts.servers import Connection
from scripts.services.administer.access.workspaces import Workspace
from scripts.sql import statements

_SQL: Final = statements("control/control")
_BEARER: Final = "bearer "
#: Requests a minute with one key, and of one address with keys that did not work lately.
_OF_A_KEY: Final = 1200
_OF_STRANGERS: Final = 300
#: For so many seconds a key that worked is no stranger's, whatever comes from its address; at
#: most so many keys.
_KNOWN_SECONDS: Final = 86_400.0
_KNOWN_MOST: Final = 10_000


@dataclass(frozen=True, slots=True)
class Caller:
    """A secret API key that works, and whose it is."""

    key_id: UUID
    name: str
    workspace: Workspace
    scopes: frozenset[str]

    def require(self, scopes: frozenset[str]) -> None:
        """Raises Problem unless the key has one of the scopes."""
        if self.scopes.isdisjoint(scopes | {apikey.ANY_SCOPE}):
            named = " or ".join(sorted(scopes)) or apikey.ANY_SCOPE
            raise Problem(HTTPStatus.FORBIDDEN, f"The API key lacks the scope {named}.")


class Callers:
    """Finds the callers of requests, and refuses who asks too often."""

    def __init__(
        self,
        secrets: Sequence[bytes],
        proxies: Proxies,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._secrets = secrets
        self._proxies = proxies
        self._clock = clock
        self._limiter = LocalLimiter(clock)
        #: Until when keys count as known, by their hashes.
        self._known: dict[bytes, float] = {}

    def hashes(self, request: web.Request) -> tuple[bytes, ...]:
        """The hashes of a request's key, before anything is asked. Raises Problem."""
        given = request.headers.get("Authorization", "")
        is_bearer = given[: len(_BEARER)].lower() == _BEARER
        key = given[len(_BEARER) :] if is_bearer else request.headers.get("X-API-Key")
        found: tuple[bytes, ...] = ()
        if key and len(key) <= apikey.LONGEST_KEY:
            found = apikey.hashes(self._secrets, key.strip())
        is_known = bool(found) and self._known.get(found[0], 0) > self._clock()
        forwarded = ",".join(request.headers.getall("X-Forwarded-For", ()))
        address = self._proxies.caller(request.remote, forwarded)
        subject = found[0].hex() if is_known else f"from {address}"
        if not self._limiter.admits(subject, _OF_A_KEY if is_known else _OF_STRANGERS):
            raise Problem(HTTPStatus.TOO_MANY_REQUESTS, "Too many requests a minute.")
        if not found:
            raise _unknown()
        return found

    async def caller(self, connection: Connection, hashes: tuple[bytes, ...]) -> Caller:
        """Who has one of the hashes. Raises Problem."""
        row = await connection.fetchrow(_SQL["caller"], list(hashes))
        if row is None:
            self._known.pop(hashes[0], None)
            raise _unknown()
        if len(self._known) >= _KNOWN_MOST:
            self._known.clear()
        self._known[hashes[0]] = self._clock() + _KNOWN_SECONDS
        owner = Workspace(row["workspace_id"], row["workspace"])
        return Caller(row["id"], row["name"], owner, frozenset(row["scopes"]))


def _unknown() -> Problem:
    return Problem(
        HTTPStatus.UNAUTHORIZED,
        "No secret API key that works: send `Authorization: Bearer KEY`.",
    )
