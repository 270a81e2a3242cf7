"""Paths that lead to no link: those of the edge itself.

A code that is one of them would never be reached on a domain. A test compares the list with
the routes of an edge.
"""

import re
from typing import Final

from ingest.dialects import DIALECTS
from ingest.dialects.batch import ROUTE

_OWN: Final = (
    "/r/{code+}",
    "/p/{code+}",
    "/.well-known/{file+}",
    "/favicon.ico",
    "/robots.txt",
    "/livez",
    "/readyz",
    "/version",
    "/docs",
    "/docs/{file}",
    "/openapi.json",
    "/t.js",
    "/t-{hash}.js",
    "/js/affitor-tracker.js",
    "/analytics/script.js",
    "/analytics/script.{features}.js",
    "/try",
    "/try/{file}",
    ROUTE.path,
)


def _pattern(path: str) -> str:
    """A variable holds no slash, one that ends in a plus any."""
    parts = re.split(r"(\{\w+\+?\})", path)
    kinds = {True: ".+", False: "[^/]+"}
    return "".join(
        kinds[part.endswith("+}")] if part.startswith("{") else re.escape(part)
        for part in parts
    )


_FIXED: Final = re.compile(
    "|".join(
        _pattern(path)
        for path in (
            *_OWN,
            *(route.path for dialect in DIALECTS for route in dialect.endpoints),
        )
    ),
    re.IGNORECASE,
)


def is_fixed(path: str) -> bool:
    """Whether the edge itself has an answer to a path, decoded, in any letters."""
    return _FIXED.fullmatch(path) is not None
