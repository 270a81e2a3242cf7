"""Brings the exported files of a span of days in line with the recorded events.

An event belongs to the day, in UTC, on which an edge accepted it: the day in its id, which never
changes. Whatever happens to events later (one recorded late, a replay, a reprocess, an erasure, a
partner's new code) changes the fingerprint of its day, and the next export writes that day
anew. A day is read in one snapshot. Its new files are put first, then the manifest names them,
then the former ones are deleted: a reader of the manifest sees a day as it was or as it is.
"""

import re
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, time, timedelta
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, NamedTuple
from uuid import UUID

from scripts.environment import Environment
from scripts.errors import Unreachable, UsageProblem
from scripts.locking import alone
from scripts.servers import Connection, postgres, single
from scripts.services.administer.access.workspaces import filter_by
from scripts.services.export import manifest as manifests
from scripts.services.export.formats import Format, require
from scripts.services.export.manifest import Manifest
from scripts.services.export.places import Place, place_of
from scripts.sql import statements
from workers.model.batch import TransientError

_SQL: Final = statements("services/export/export")
#: Rows of a file: one is held in memory as it is put.
_ROWS: Final = 250_000
#: The time-out of a statement: a day of a large installation takes long.
_SECONDS: Final = 3600.0
_SETTINGS: Final = {"statement_timeout": str(int(_SECONDS * 1000)), "timezone": "UTC"}
#: Files of ours, and those that were being written when a process was killed.
_OURS: Final = re.compile(r"events/day=\d{4}-\d\d-\d\d/\.?part-\d+-[0-9a-f]{16}\..+")
_DAY: Final = timedelta(days=1)


class Wanted(NamedTuple):
    """What to export: events accepted on the days from `since` until `until`."""

    into: str
    format: str
    since: datetime | None
    until: datetime
    workspace: str | None = None
    dry_run: bool = False
    rows_of_a_file: int = _ROWS


@dataclass(slots=True)
class Exported:
    """How many days, and what became of them; `rows` and `bytes` are of the written ones."""

    days: int = 0
    written: int = 0
    unchanged: int = 0
    rows: int = 0
    bytes: int = 0
    #: Days of detached months: what was exported of them stays.
    detached: int = 0


async def export(
    environment: Environment,
    wanted: Wanted,
    begin: Callable[[int], None],
    advance: Callable[[], None],
) -> dict[str, Any]:
    """Export day by day: `begin` is told how many, `advance` is called after each.

    Raises UsageProblem and Unreachable.
    """
    form, place = require(wanted.format), place_of(wanted.into)
    problem = UsageProblem(
        f"Another export into {place.name} is running.", "wait until it is over."
    )
    try:
        async with (
            alone(environment, _SQL["alone"], place.name, otherwise=problem),
            postgres(environment, seconds=_SECONDS, settings=_SETTINGS) as connection,
        ):
            owner = await filter_by(connection, wanted.workspace)
            export = _Export(connection, place, form, owner, wanted)
            done = await export.run(begin, advance)
    except (TransientError, OSError) as error:
        raise Unreachable(
            f"Files cannot be put into {place.name}: {error}",
            "correct that, then run it again: what is exported stays.",
        ) from error
    return {"into": place.name, "format": form.name, **asdict(done)}


def _day(moment: datetime) -> date:
    return moment.astimezone(UTC).date()


class _Export:
    """One run."""

    def __init__(
        self,
        connection: Connection,
        place: Place,
        form: Format,
        owner: UUID | None,
        wanted: Wanted,
    ) -> None:
        self._connection = connection
        self._place = place
        self._form = form
        self._owner = owner
        self._wanted = wanted
        self._manifest = Manifest(form.name, wanted.workspace)
        self._done = Exported()

    async def run(
        self, begin: Callable[[int], None], advance: Callable[[], None]
    ) -> Exported:
        self._manifest = await manifests.load(self._place, self._manifest)
        days = await self._days()
        begin(len(days))
        for day in days:
            await self._export(day)
            advance()
        if not self._wanted.dry_run:
            await self._tidy()
        return self._done

    async def _days(self) -> Sequence[date]:
        """Those that are asked for, and have events or had some; without the detached."""
        ends = await single(self._connection, _SQL["ends"])
        known = [date.fromisoformat(day) for day in self._manifest.days]
        known += [_day(end) for end in ends.values() if end is not None]
        if not known:
            return ()
        since, until = self._wanted.since, self._wanted.until
        first = max(min(known), _day(since) if since else min(known))
        last = min(max(known), _day(until - timedelta(microseconds=1)))
        floor = await self._connection.fetchval(_SQL["floor"])
        if floor is not None and first < _day(floor):
            self._done.detached = (_day(floor) - first).days
            first = _day(floor)
        self._done.days = max(0, (last - first).days + 1)
        return [first + number * _DAY for number in range(self._done.days)]

    async def _export(self, day: date) -> None:
        start = datetime.combine(day, time(), UTC)
        span = (start, start + _DAY, self._owner)
        async with self._connection.transaction(
            isolation="repeatable_read", readonly=True
        ):
            found = await single(self._connection, _SQL["fingerprint"], *span)
            if self._manifest.is_same(day, found):
                self._done.unchanged += 1
                return
            self._done.written += 1
            self._done.rows += found["rows"]
            if self._wanted.dry_run:
                return
            files = await self._write(day, span)
        former = self._manifest.files_of(day)
        self._manifest.days[str(day)] = {**found, "files": files}
        if not files:
            del self._manifest.days[str(day)]
        await manifests.save(self._place, self._manifest)
        for name in former - self._manifest.files:
            await self._place.delete(name)

    async def _write(self, day: date, span: tuple[Any, ...]) -> list[dict[str, Any]]:
        most = self._wanted.rows_of_a_file
        listed = await self._connection.fetch(_SQL["parts"], *span, most)
        starts: list[UUID | None] = [row["id"] for row in listed]
        files = []
        with tempfile.TemporaryDirectory() as directory:
            for number, (first, following) in enumerate(pairwise([*starts, None])):
                path = Path(directory) / f"part{self._form.suffix}"
                part = (*span, first, following)
                data = await self._form.write(self._connection, part, path)
                name = f"part-{number}-{sha256(data).hexdigest()[:16]}"
                name = f"events/day={day}/{name}{self._form.suffix}"
                await self._place.put(name, data)
                files.append({"name": name, "bytes": len(data)})
                self._done.bytes += len(data)
        return files

    async def _tidy(self) -> None:
        """Delete what a run left that ended before its manifest."""
        known = self._manifest.files
        left = [
            name
            async for name in self._place.names()
            if _OURS.fullmatch(name) and name not in known
        ]
        for name in left:
            await self._place.delete(name)
