"""Embedded servers for the length of a block."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from scripts.embedded import Embedded, Options


@contextmanager
def running(data: Path, *, durable: bool = True) -> Iterator[Embedded]:
    """`durable=False` skips every fsync: a quicker start."""
    with Embedded(data, Options(durable=durable)) as embedded:
        yield embedded
