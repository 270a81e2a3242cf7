"""Leaves out frames of the archive in which a filtered replay would find nothing.

What a replay looks for is recorded, or it is not. Of what is recorded for a link or partner,
PostgreSQL tells the ids. What is not recorded is asked for by what it says itself. A segment's
contents tell which frames have such an id, or say such a link, code or workspace.

What PostgreSQL tells is of the moment at which it is asked, once a replay in each process. What
is recorded later was recorded as the replay would do it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from uuid import UUID

from typing_extensions import override

from workers.archive.contents import (
    FrameContents,
    code_hash,
    id_hash,
    load_contents,
    name_hash,
)
from workers.archive.segment import Segment
from workers.model.batch import TransientError
from workers.postgres.database import Pool, autocommit
from workers.postgres.sql import statements
from workers.replay.archive_pages import Wanted
from workers.replay.leases import Part
from workers.replay.request import ReplayRequest
from workers.replay.scope import LinkNames

_SQL: Final = statements("replay/replays")

#: Of more events than that there is one in nearly every frame.
_MOST_EVENTS: Final = 200_000
#: A workspace with more links has its events in nearly every frame.
_MOST_LINKS: Final = 100_000
#: For finding what is recorded, within a lease.
_SECONDS: Final = 8.0
_MAX_MS: Final = 2**48 - 1
#: Of a UUIDv7, below its milliseconds.
_RANDOM_BITS: Final = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class _Signs:
    """What tells events of a link, partner or workspace; hashes as in `contents`."""

    #: Of events that are recorded there.
    ids: frozenset[int] = frozenset()
    links: frozenset[int] = frozenset()
    codes: frozenset[int] = frozenset()
    workspace: int | None = None

    def may_be_in(self, frame: FrameContents) -> bool:
        is_owned = self.workspace is not None and (
            frame.is_unowned or self.workspace in frame.workspaces
        )
        return is_owned or not (
            self.links.isdisjoint(frame.links)
            and self.codes.isdisjoint(frame.codes)
            and self.ids.isdisjoint(frame.ids)
        )


class FrameFilters:
    """What tells the events of the replays that a process works at."""

    def __init__(self, pool: Pool, directory: Path | None) -> None:
        """`directory` is the archive's, None if there is none."""
        self._pool = pool
        self._directory = directory
        #: Of the latest replay: its id, and what it has recorded by link and by partner.
        self._recorded: tuple[UUID, Sequence[frozenset[int] | None]] | None = None

    def of(self, part: Part) -> Wanted:
        """What one part looks for."""
        return _FrameFilter(part, self._directory, self._signs)

    async def _signs(self, part: Part) -> Sequence[_Signs]:
        """The filters, all of which an event has to pass. Raises TransientError."""
        scope = part.scope
        by_link, by_partner = await self._recorded_of(part)
        signs: list[_Signs] = []
        # Without all that is recorded, a filter may leave out nothing.
        if scope.link_id is not None and by_link is not None:
            signs.append(_of_links(scope.link, by_link))
        if scope.partner_id is not None and by_partner is not None:
            signs.append(_of_links(scope.partner, by_partner))
        if scope.workspace_id is not None:
            signs += await self._of_workspace(scope.workspace_id)
        return signs

    async def _recorded_of(self, part: Part) -> Sequence[frozenset[int] | None]:
        if self._recorded is None or self._recorded[0] != part.replay_id:
            scope, request = part.scope, part.request
            found = (
                await self._ids("recorded_of_link", scope.link_id, request),
                await self._ids("recorded_of_partner", scope.partner_id, request),
            )
            self._recorded = (part.replay_id, found)
        return self._recorded[1]

    async def _ids(
        self, statement: str, whose: UUID | None, request: ReplayRequest
    ) -> frozenset[int] | None:
        """The hashes of what is recorded there; None if that is too much, or takes too long."""
        if whose is None:
            return frozenset()
        span = _least(request.from_ms), _least(request.to_ms)
        try:
            async with autocommit(self._pool) as connection:
                rows = await connection.fetch(
                    _SQL[statement], whose, *span, _MOST_EVENTS + 1, timeout=_SECONDS
                )
        except TransientError:
            return None
        return (
            frozenset(id_hash(row["id"]) for row in rows)
            if len(rows) <= _MOST_EVENTS
            else None
        )

    async def _of_workspace(self, workspace_id: UUID) -> Sequence[_Signs]:
        async with autocommit(self._pool) as connection:
            rows = await connection.fetch(
                _SQL["links_of_workspace"], workspace_id, _MOST_LINKS + 1
            )
        if len(rows) > _MOST_LINKS:
            return ()
        links = frozenset(name_hash(row["id"]) for row in rows)
        return (_Signs(workspace=name_hash(workspace_id), links=links),)


class _FrameFilter(Wanted):
    """What one part of a replay looks for."""

    def __init__(
        self,
        part: Part,
        directory: Path | None,
        signs: Callable[[Part], Awaitable[Sequence[_Signs]]],
    ) -> None:
        self._part = part
        self._directory = directory
        self._load_signs = signs
        self._signs: Sequence[_Signs] | None = None
        self._last: tuple[str, Sequence[FrameContents] | None] | None = None

    @override
    def has(self, payload: bytes) -> bool:
        return self._part.request.may_match(payload)

    @override
    async def frames(self, segment: Segment, frames: Sequence[int]) -> Sequence[int]:
        if self._directory is None:
            return frames
        # A page is a frame of many.
        if self._last is None or self._last[0] != segment.key:
            found = await asyncio.to_thread(load_contents, self._directory, segment)
            self._last = (segment.key, found)
        contents = self._last[1]
        if contents is None:
            return frames
        if self._signs is None:
            self._signs = await self._load_signs(self._part)
        return [at for at in frames if self._may_be_in(contents[at], self._signs)]

    def _may_be_in(self, frame: FrameContents, signs: Sequence[_Signs]) -> bool:
        request = self._part.request
        return frame.is_opaque or (
            (request.kind is None or request.kind in frame.kinds)
            and (request.dialect is None or request.dialect in frame.dialects)
            and (request.event_id is None or id_hash(request.event_id) in frame.ids)
            and all(each.may_be_in(frame) for each in signs)
        )


def _of_links(names: LinkNames, ids: frozenset[int]) -> _Signs:
    return _Signs(
        ids=ids,
        links=frozenset(map(name_hash, names.ids)),
        codes=frozenset(map(code_hash, names.codes)),
    )


def _least(ms: int) -> UUID:
    """The lowest UUIDv7 of a millisecond."""
    return UUID(int=min(max(ms, 0), _MAX_MS) << _RANDOM_BITS)
