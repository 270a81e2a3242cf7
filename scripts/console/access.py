"""Who sends a request: by a session, by a proxy's word, or anybody on this machine."""

from collections.abc import Callable
from http import HTTPStatus
from time import monotonic
from typing import Final, NamedTuple

from aiohttp import web

from ingest.core.client_ip import Proxies
from ingest.rate_limit.local import LocalLimiter
from scripts.console.protection import (
    Networks,
    Refused,
    form_token,
    is_within,
    require_own_host,
)
from scripts.console.reads import Reads
from scripts.environment import Environment
from scripts.errors import Unreachable
from scripts.services.administer.access import users
from scripts.services.administer.access.users import User

COOKIE: Final = "reftide_console"
_LONGEST_TOKEN: Final = 100
#: How long a key is believed without asking: for all that are known at once.
_BELIEVED_SECONDS: Final = 5.0
#: Likewise while PostgreSQL is away, for reads only.
_BELIEVED_AWAY_SECONDS: Final = 600.0
_MOST_KEYS: Final = 10_000
#: Requests a minute of one address with sessions that are over, or of nobody.
_OF_STRANGERS: Final = 60
_OPEN: Final = User("this machine", "admin")


class _Known(NamedTuple):
    user: User
    #: When that was checked.
    at: float


class Access:
    """Finds the users of requests, and remembers them for a while."""

    def __init__(
        self,
        environment: Environment,
        reads: Reads,
        *,
        is_open: bool,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        """Raises Unreachable without the installation's secret, UsageProblem."""
        self.is_open = is_open
        self._reads = reads
        self._clock = clock
        self._secret = environment.secrets()[0]
        self._header = environment.variables.get("REFTIDE_CONSOLE_USER_HEADER", "")
        self._proxies: Networks = environment.networks(
            "REFTIDE_CONSOLE_TRUSTED_PROXIES"
        )
        self._forwarders = Proxies(environment.networks("REFTIDE_TRUSTED_PROXIES"))
        self._limiter = LocalLimiter(clock)
        self._known: dict[str, _Known] = {}

    def address(self, request: web.Request) -> str | None:
        """Where it comes from: what a trusted proxy says, or the peer."""
        forwarded = ",".join(request.headers.getall("X-Forwarded-For", ()))
        return self._forwarders.caller(request.remote, forwarded)

    def form_token(self, request: web.Request) -> str:
        """What a form of this request's user carries; empty without a user."""
        key = self._key(request)
        return form_token(self._secret, key) if key else ""

    async def user(self, request: web.Request, *, is_act: bool = False) -> User | None:
        """Who that is; for an act PostgreSQL is always asked.

        Raises Refused, Unreachable where nobody is known while PostgreSQL is away.
        """
        if self.is_open:
            require_own_host(request)
            return _OPEN
        key = self._key(request)
        if key is None:
            return None
        known, now = self._known.get(key), self._clock()
        if known and not is_act and now - known.at < _BELIEVED_SECONDS:
            return known.user
        if known is None:
            self._admit_stranger(request)
        try:
            await self._check(key)
        except Unreachable:
            if known is None or is_act or now - known.at > _BELIEVED_AWAY_SECONDS:
                raise
            return known.user
        found = self._known.get(key)
        return found and found.user

    def forget(self, request: web.Request) -> None:
        """The session is over."""
        if key := self._key(request):
            self._known.pop(key, None)

    def _key(self, request: web.Request) -> str | None:
        if self.is_open:
            return "open"
        if self._header and is_within(request.remote, self._proxies):
            name = request.headers.get(self._header, "")
            return users.name_key(name) if name else None
        token = request.cookies.get(COOKIE, "")
        return users.session_key(token) if 0 < len(token) <= _LONGEST_TOKEN else None

    async def _check(self, key: str) -> None:
        """Ask for all that are known, in one statement however many they are."""
        now = self._clock()
        asked = {
            each
            for each, known in self._known.items()
            if now - known.at < _BELIEVED_AWAY_SECONDS
        }
        async with self._reads.connection() as connection:
            found = await users.known(connection, {key, *asked})
        self._known = {
            each: _Known(user, now) for each, user in [*found.items()][-_MOST_KEYS:]
        }

    def _admit_stranger(self, request: web.Request) -> None:
        if not self._limiter.admits(f"from {self.address(request)}", _OF_STRANGERS):
            raise Refused(
                HTTPStatus.TOO_MANY_REQUESTS,
                "Too many requests without a session.",
                "Wait a minute.",
            )
