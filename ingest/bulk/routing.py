"""Finds the endpoint that an event of a batch names by its path. Pure."""

import re
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple
from urllib.parse import unquote

from ingest.dialects.batch import BATCH
from ingest.dialects.spec.refusal import RefusalCode
from ingest.dialects.spec.routes import Dialect, Endpoint

_PARAMETER: Final = re.compile(r"\\\{(\w+)\\\}")


class NamedRoute(NamedTuple):
    """A dialect, its endpoint under a path, and the path's parameters."""

    dialect: Dialect
    endpoint: Endpoint | None = None
    parameters: Mapping[str, str] = {}
    #: Why there is no endpoint.
    why_not: RefusalCode = "not_found"


class RouteTable:
    """The endpoints of some dialects, by their paths."""

    def __init__(self, dialects: Sequence[Dialect]) -> None:
        self._dialects = sorted(dialects, key=lambda each: len(each.prefix))
        self._fixed: dict[str, NamedRoute] = {}
        self._patterns: list[tuple[re.Pattern[str], NamedRoute]] = []
        for dialect in dialects:
            for route in dialect.endpoints:
                named = NamedRoute(dialect, why_not="method_not_allowed")  # no event
                if isinstance(route, Endpoint):
                    named = NamedRoute(dialect, route)
                if "{" in route.path:
                    self._patterns.append((_pattern(route.path), named))
                else:
                    self._fixed[route.path] = named

    def find(self, path: str) -> NamedRoute:
        """The route of a path; without an endpoint, the dialect that refuses it."""
        named = self._fixed.get(path)
        if named is not None:
            return named
        for pattern, named in self._patterns:
            if found := pattern.fullmatch(path):
                texts = {
                    name: unquote(text) for name, text in found.groupdict().items()
                }
                return named._replace(parameters=texts)
        return NamedRoute(self._dialect_of(path))

    def _dialect_of(self, path: str) -> Dialect:
        """The dialect with the longest prefix, as for requests."""
        within = [
            dialect
            for dialect in self._dialects
            if f"{path}/".startswith(f"{dialect.prefix}/")
        ]
        return within[-1] if within else BATCH


def _pattern(path: str) -> re.Pattern[str]:
    return re.compile(_PARAMETER.sub(r"(?P<\1>[^/]+)", re.escape(path)))
