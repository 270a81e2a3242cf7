"""From a request to an answer: body, key, transaction, idempotency, and errors in one form."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from http import HTTPStatus
from typing import Any, Final

import asyncpg
import orjson
from aiohttp import web

from scripts.control.callers import Caller, Callers
from scripts.control.problems import Problem, invalid
from scripts.environment import Environment
from scripts.errors import AlreadyExists, Unreachable, UsageProblem
from scripts.servers import Connection, postgres
from scripts.services.operations import note
from scripts.sql import statements
from workers.counters.rule import NAMES

_SQL: Final = statements("control/control")
#: A thousand links in one body.
_MOST_BYTES: Final = 2_000_000
_BODY_SECONDS: Final = 20.0
#: Requests that have a connection to PostgreSQL, at the same time.
_AT_ONCE: Final = 8
_RETRY_SECONDS: Final = 5
_LATER: Final = {HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS}
_LONGEST_KEY: Final = 255
#: What changes without anybody's changing it: an ETag leaves it out.
_VOLATILE: Final = frozenset(
    {*NAMES, "amounts", "last_clicked_at", "links", "awards", "programs", "partners"}
)


@dataclass(frozen=True, slots=True)
class Call:
    """An authorised request; inside its transaction, if it changes anything."""

    request: web.Request
    connection: Connection
    caller: Caller
    environment: Environment
    #: The JSON of its body; None where it has none.
    body: Any = None

    def path(self, name: str) -> str:
        return self.request.match_info[name]

    def matches(self, row: Mapping[str, Any]) -> None:
        """Raises Problem where `If-Match` names another state of this than the present one."""
        wanted = self.request.headers.get("If-Match")
        if wanted not in {None, "*", etag_of(row)}:
            raise Problem(
                HTTPStatus.PRECONDITION_FAILED,
                "It has changed since: get it again, and its ETag.",
            )

    async def alone(self, name: str) -> None:
        """Wait for other requests that change what has this name, until they are done."""
        await self.connection.execute(_SQL["alone"], name)


@dataclass(frozen=True, slots=True)
class Answer:
    """What an act answers; `unkept` members are not kept for a repeated request.

    The trail has a row for each of `links`: public ids that the request's path does not say.
    """

    body: Any
    status: HTTPStatus = HTTPStatus.OK
    etag: str | None = None
    unkept: frozenset[str] = frozenset()
    links: Sequence[str] = ()


Act = Callable[[Call], Awaitable[Answer]]


def etag_of(row: Mapping[str, Any]) -> str:
    """A name of what a row says, figures apart."""
    kept = {name: value for name, value in row.items() if name not in _VOLATILE}
    digest = blake2b(_encoded(kept), digest_size=12).hexdigest()
    return f'"{digest}"'


class Server:
    """Makes handlers of acts."""

    def __init__(self, environment: Environment, callers: Callers) -> None:
        self._environment = environment
        self._callers = callers
        self._turns = asyncio.Semaphore(_AT_ONCE)

    def handler(
        self, scopes: frozenset[str], act: Act
    ) -> Callable[[web.Request], Awaitable[web.Response]]:
        """A handler that needs a key with one of the scopes."""

        async def handle(request: web.Request) -> web.Response:
            try:
                return await self._answer(request, scopes, act)
            except Problem as problem:
                return _refused(problem)
            except AlreadyExists as error:
                return _refused(Problem(HTTPStatus.CONFLICT, error.what))
            except UsageProblem as error:
                return _refused(invalid(error.what))
            except Unreachable:
                return _refused(
                    Problem(HTTPStatus.SERVICE_UNAVAILABLE, "The database is away.")
                )

        return handle

    async def _answer(
        self, request: web.Request, scopes: frozenset[str], act: Act
    ) -> web.Response:
        hashes = self._callers.hashes(request)
        body = await _body(request)
        async with self._turns, postgres(self._environment) as connection:
            caller = await self._callers.caller(connection, hashes)
            caller.require(scopes)
            call = Call(request, connection, caller, self._environment, body)
            try:
                if request.method == "GET":
                    return _response(await act(call))
                async with connection.transaction():
                    return await _once(call, act)
            except (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError) as e:
                # Beside us another took what was free; or a value that no parser knows of.
                raise invalid(f"The database refuses a value: {e}") from e


async def _body(request: web.Request) -> Any:
    """The JSON of a body of bounded size; None of an empty one. Raises Problem."""
    try:
        async with asyncio.timeout(_BODY_SECONDS):
            raw = await _read(request)
    except TimeoutError as error:
        raise Problem(HTTPStatus.BAD_REQUEST, "The body takes too long.") from error
    if not raw:
        return None
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise Problem(
            HTTPStatus.BAD_REQUEST, f"The body is no JSON: {error}"
        ) from error


async def _read(request: web.Request) -> bytes:
    raw = bytearray()
    async for chunk in request.content.iter_any():
        raw += chunk
        if len(raw) > _MOST_BYTES:
            raise Problem(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                f"The body has more than {_MOST_BYTES:,} bytes.",
            )
    return bytes(raw)


async def _done(call: Call, act: Act) -> Answer:
    """The act's answer, once it is in the trail of operations."""
    answer = await act(call)
    request, caller = call.request, call.caller
    for path in [f"/links/{each}" for each in answer.links] or [request.path]:
        await note(
            call.connection,
            who=f"key {caller.key_id} {caller.name}".strip(),
            workspace_id=caller.workspace.id,
            what=f"{request.method} {path}",
            arguments=call.body,
            result=answer.body,
        )
    return answer


async def _once(call: Call, act: Act) -> web.Response:
    """Answer; a request that repeats an Idempotency-Key of a day gets the first answer."""
    key = call.request.headers.get("Idempotency-Key")
    if key is None:
        return _response(await _done(call, act))
    if not key or len(key) > _LONGEST_KEY or not key.isprintable():
        raise invalid(f"An Idempotency-Key has 1 to {_LONGEST_KEY} characters.")
    said = f"{call.request.method} {call.request.path_qs}\n".encode()
    digest = blake2b(said + _encoded(call.body), digest_size=16).digest()
    place = (call.caller.key_id, key)
    await call.connection.execute(_SQL["forget"])
    if not await call.connection.fetchval(_SQL["attempt"], *place, digest):
        known = await call.connection.fetchrow(_SQL["answered"], *place)
        if known is None or known["digest"] != digest:
            raise Problem(
                HTTPStatus.CONFLICT, "Another request came with this Idempotency-Key."
            )
        return _sent(known["body"], known["status"], known["etag"])
    answer = await _done(call, act)
    body = answer.body
    if answer.unkept:
        body = {
            name: value for name, value in body.items() if name not in answer.unkept
        }
    kept = answer.status.value, _encoded(body), answer.etag
    await call.connection.execute(_SQL["answer"], *place, *kept)
    return _response(answer)


def _response(answer: Answer) -> web.Response:
    return _sent(_encoded(answer.body), answer.status.value, answer.etag)


def _sent(body: bytes, status: int, etag: str | None = None) -> web.Response:
    headers = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
    if etag:
        headers["ETag"] = etag
    return web.Response(
        body=body, status=status, headers=headers, content_type="application/json"
    )


def _refused(problem: Problem) -> web.Response:
    response = _sent(_encoded(problem.body()), problem.status.value)
    if problem.status in _LATER:
        response.headers["Retry-After"] = str(_RETRY_SECONDS)
    if problem.status is HTTPStatus.UNAUTHORIZED:
        response.headers["WWW-Authenticate"] = "Bearer"
    return response


def _encoded(value: Any) -> bytes:
    return orjson.dumps(
        value,
        default=_plain,
        option=orjson.OPT_UTC_Z | orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS,
    )


def _plain(value: Any) -> Any:
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    return str(value)
