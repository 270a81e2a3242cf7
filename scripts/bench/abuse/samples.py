"""A request that is in order for each route, by the examples of the reference."""

from collections.abc import Iterator
from random import Random
from typing import NamedTuple

import orjson

from ingest.contracts.storable import Json
from ingest.dialects import DIALECTS
from ingest.reference.examples import example_of, path_of
from ingest.reference.schemas import Schemas
from scripts.bench.load.keyless import rotating


class Sample(NamedTuple):
    """A route's method, its path, and the body of its example."""

    method: str
    path: str
    body: dict[str, Json]

    def request(self, body: bytes, lines: bytes = b"") -> bytes:
        """The same with another body. `lines` are headers, each with its line break."""
        first = f"{self.method} {self.path} HTTP/1.1\r\nHost: x\r\n".encode()
        return b"%b%bContent-Length: %d\r\n\r\n%b" % (first, lines, len(body), body)

    @property
    def whole(self) -> bytes:
        return self.request(orjson.dumps(self.body) if self.body else b"")


def samples() -> Iterator[Sample]:
    """Of all dialects."""
    for dialect in DIALECTS:
        schemas = Schemas(dialect)
        for route in dialect.endpoints:
            path = route.path
            for name, text in path_of(route).items():
                path = path.replace("{" + name + "}", text)
            body = example_of(route, schemas.of(route.body)).body
            yield Sample(route.method, path, body)


def forwarded(dice: Random) -> bytes:
    """The header of a trusted proxy that tells of one of many addresses."""
    return f"X-Forwarded-For: {rotating(dice.getrandbits(24))}\r\n".encode()
