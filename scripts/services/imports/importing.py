"""Imports a file, a thousand lines in each transaction."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import Any, Final

from redis.asyncio import Redis

from ingest.contracts.envelope import Envelope
from ingest.contracts.stream import SHARDS_KEY
from scripts.environment import Environment
from scripts.servers import Connection, postgres, redis_server, shard_numbers
from scripts.services.administer.access.workspaces import choose
from scripts.services.imports.kinds import Append, ImportKind, Lines
from scripts.services.imports.lines import Line
from scripts.services.maintain.appends import append

_AT_ONCE: Final = 1000
_SECONDS: Final = 60.0
#: Lines that are named; all are counted.
_SHOWN: Final = 1000


@dataclass(slots=True)
class Imported:
    """How many lines came to what, and the first ones that were refused, with the reason."""

    statuses: Counter[str] = field(default_factory=Counter)
    refused: list[dict[str, Any]] = field(default_factory=list)

    def note(self, line: int, status: str, error: str | None) -> None:
        self.statuses[status] += 1
        if status == "refused" and len(self.refused) < _SHOWN:
            self.refused.append({"line": line, "error": error})


async def import_lines(
    environment: Environment,
    kind: ImportKind,
    lines: Iterable[Line],
    *,
    workspace: str | None,
    is_dry: bool,
    advance: Callable[[int], None],
) -> Imported:
    """Import lines; the report. A dry run changes nothing. Raises UsageProblem, Unreachable.

    Clicks raise a Failure while all shards are sealed; other kinds need none. Stopped in the
    middle, it leaves whole thousands; imported again, these are unchanged. `advance` is told
    how many lines are done.
    """
    report = Imported()
    async with (
        postgres(environment, seconds=_SECONDS) as connection,
        redis_server(environment) as redis,
    ):
        append = _nowhere if is_dry else await _appending(environment, redis)
        rest = iter(lines)
        # A file is read beside the loop.
        while chunk := await asyncio.to_thread(_first, rest):
            transaction = connection.transaction()
            await transaction.start()
            try:
                await _import(connection, kind, append, workspace, chunk, report)
            except BaseException:
                await transaction.rollback()
                raise
            await (transaction.rollback() if is_dry else transaction.commit())
            advance(len(chunk))
    return report


async def _import(
    connection: Connection,
    kind: ImportKind,
    append: Append,
    workspace: str | None,
    chunk: Sequence[Line],
    report: Imported,
) -> None:
    owner = await choose(connection, workspace)
    good = [line for line in chunk if line.error is None]
    values = [line.values for line in good]
    outcomes = iter(await kind.upsert(Lines(connection, append, owner, values)))
    for line in chunk:
        if line.error is not None:
            report.note(line.number, "refused", line.error)
        else:
            outcome = next(outcomes)
            report.note(line.number, outcome.status, outcome.error)


def _first(rest: Iterator[Line]) -> list[Line]:
    return list(islice(rest, _AT_ONCE))


async def _nowhere(_: Sequence[Envelope]) -> None:
    """Append nothing."""


async def _appending(environment: Environment, redis: Redis) -> Append:
    shards = [*await shard_numbers(environment, redis)]
    await redis.set(SHARDS_KEY, environment.layout().record, nx=True)
    return partial(append, redis, shards)
