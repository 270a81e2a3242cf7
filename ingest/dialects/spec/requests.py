"""Requests with the HTTP server taken off, and replies before it is put on."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import msgspec

from ingest.contracts.storable import Json

#: An empty mapping that stays so.
NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})


class Value(msgspec.Struct, frozen=True, gc=False):
    """What every request makes anew. It holds nothing that leads back to itself."""


class RawRequest(Value, frozen=True, kw_only=True):
    """A request with the HTTP server taken off.

    Headers are looked up in lower case; how their names are spelt is not to be relied on.
    """

    path: Mapping[str, str] = NOTHING
    query: Mapping[str, str] = NOTHING
    headers: Mapping[str, str] = NOTHING
    body: bytes = b""
    #: The caller's whole address, where it can be known; sealing truncates it.
    ip: str | None = None


class Reply(Value, frozen=True):
    """An answer: a JSON body, where a body of None is JSON's `null`."""

    status: int
    body: Json
    headers: Mapping[str, str] = NOTHING

    @classmethod
    def ok(cls, **body: Json) -> "Reply":
        """A 200 with these keys, in their order."""
        return cls(200, body)


class Usage(NamedTuple):
    """How far a caller's limit is used up, after its request was counted or refused."""

    limit: int
    remaining: int
    #: Unix seconds when the first of what is used comes free.
    reset: int
    is_admitted: bool
    #: Whole seconds until the next request may come; 0 where this one was admitted.
    retry_after: int
