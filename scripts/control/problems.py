"""The one form of errors: `{"error": {"code": …, "message": …}}`, with Dub's codes."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

CODES: Final[Mapping[int, str]] = {
    HTTPStatus.BAD_REQUEST: "bad_request",
    HTTPStatus.UNAUTHORIZED: "unauthorized",
    HTTPStatus.FORBIDDEN: "forbidden",
    HTTPStatus.NOT_FOUND: "not_found",
    HTTPStatus.CONFLICT: "conflict",
    HTTPStatus.PRECONDITION_FAILED: "precondition_failed",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "too_large",
    HTTPStatus.UNPROCESSABLE_ENTITY: "unprocessable_entity",
    HTTPStatus.TOO_MANY_REQUESTS: "rate_limit_exceeded",
    HTTPStatus.SERVICE_UNAVAILABLE: "service_unavailable",
}


class Problem(Exception):
    """A request is refused with this status; `field` names what is wrong in it."""

    def __init__(
        self, status: HTTPStatus, message: str, field: str | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.field = field

    @property
    def code(self) -> str:
        return CODES[self.status]

    def body(self) -> dict[str, object]:
        field = {} if self.field is None else {"field": self.field}
        return {"error": {"code": self.code, "message": self.message, **field}}


def invalid(message: str, field: str | None = None) -> Problem:
    return Problem(HTTPStatus.UNPROCESSABLE_ENTITY, message, field)


def missing(what: str, name: str) -> Problem:
    """Also for what another workspace has."""
    return Problem(HTTPStatus.NOT_FOUND, f"There is no {what} {name!r}.")
