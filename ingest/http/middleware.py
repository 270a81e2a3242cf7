"""Turns exceptions into refusals of the dialect whose path was called.

The HTTP server's own refusals are plain text, which the vendors' clients cannot read.
"""

from collections.abc import Sequence
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Middleware
from msgspec.structs import replace

from ingest.contracts.metrics.edge import REFUSED
from ingest.contracts.telemetry import Log
from ingest.dialects.spec.refusal import Refusal, RefusalCode
from ingest.dialects.spec.requests import Reply
from ingest.dialects.spec.routes import Dialect
from ingest.http.handlers import Handler, respond

_CODES: Final[dict[int, RefusalCode]] = {
    404: "not_found",
    405: "method_not_allowed",
    413: "body_too_large",
    415: "encoding_unsupported",
}
_STATUS: Final[dict[RefusalCode, int]] = {
    **{code: status for status, code in _CODES.items()},
    "failed": 500,
}
_KEPT: Final = {"Allow"}


def in_words_of(dialects: Sequence[Dialect]) -> Middleware:
    """Turn every exception into an answer of the dialect with the longest prefix."""
    by_length = sorted(dialects, key=lambda dialect: len(dialect.prefix), reverse=True)

    @web.middleware
    async def say_no(request: web.Request, handler: Handler) -> web.StreamResponse:
        headers: dict[str, str] = {}
        try:
            _check_coding(request)
            return await handler(request)
        except ConnectionError:
            raise  # the client is gone
        except Refusal as caught:
            refusal = caught
        except web.HTTPException as error:
            refusal = Refusal(_CODES.get(error.status, "body_malformed"))
            headers = {name: error.headers[name] for name in _KEPT & {*error.headers}}
        except Exception as error:  # noqa: BLE001 -- the last resort, and it is logged
            refusal = _failure(request.path, error)
        return _answer(by_length, request, refusal, headers)

    return say_no


def _check_coding(request: web.Request) -> None:
    # aiohttp takes the chunks away, and leaves what else the body is coded in.
    if request.headers.get("Transfer-Encoding", "chunked").lower() != "chunked":
        raise Refusal("encoding_unsupported")


def failed(dialect: Dialect, path: str, error: Exception) -> Reply:
    """The answer to a request that met a bug; the log has the details."""
    return _refused(dialect, _failure(path, error))


def _failure(path: str, error: Exception) -> Refusal:
    Log().error("edge.failed", exc_info=error, path=path)
    return Refusal("failed", field=path)


def _refused(dialect: Dialect, refusal: Refusal) -> Reply:
    REFUSED.labels(dialect.name, refusal.code).inc()
    return dialect.refuse(refusal)


def _answer(
    dialects: Sequence[Dialect],
    request: web.Request,
    refusal: Refusal,
    headers: dict[str, str],
) -> web.Response:
    path = request.path
    for dialect in dialects:
        prefix = dialect.prefix.rstrip("/")
        if path == prefix or path.startswith(prefix + "/"):
            reply = _refused(dialect, refusal)
            browsers = _is_for_browsers(dialect, request)
            break
    else:
        REFUSED.labels("none", refusal.code).inc()
        reply = Reply(_STATUS.get(refusal.code, 400), {"error": refusal.code})
        browsers = False
    reply = replace(reply, headers={**reply.headers, **headers})
    return respond(reply, is_for_browsers=browsers)


def _is_for_browsers(dialect: Dialect, request: web.Request) -> bool:
    """Whether browsers call the route, or where there is none, any of the dialect."""
    resource = request.match_info.route.resource
    path = resource.canonical if resource else None
    own = [item for item in dialect.endpoints if item.path == path]
    return any(item.from_browsers for item in own or dialect.endpoints)
