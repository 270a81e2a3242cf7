"""Lets the events of one request share entries of the stream.

A request of many events judges them as so many tasks. What they append in one turn of the
event loop goes to the sink together.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import NamedTuple
from uuid import UUID

from typing_extensions import override

from ingest.core.ports import Sink
from ingest.core.values import Overloaded


class _Waiting(NamedTuple):
    """An event, and the future of the task that waits until it is durable."""

    event_id: UUID
    payload: bytes
    answer: asyncio.Future[Overloaded | None]


class SharedEntries(Sink):
    """The sink of one request of many events."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._waiting: list[_Waiting] = []
        self._appends: set[asyncio.Task[None]] = set()

    @override
    def admit(self) -> None:
        self._sink.admit()

    @override
    def offer(
        self, event_id: bytes, payload: bytes, settled: Callable[[str | None], None]
    ) -> bool:
        # It waits for others.
        return False

    @override
    async def keep(self, event_id: UUID, payload: bytes, why: str | None) -> None:
        await self._sink.keep(event_id, payload, why)

    @override
    async def append(self, event_id: UUID, payload: bytes) -> None:
        loop = asyncio.get_running_loop()
        if not self._waiting:
            loop.call_soon(self._flush)
        waiting = _Waiting(event_id, payload, loop.create_future())
        self._waiting.append(waiting)
        if (problem := await waiting.answer) is not None:
            raise problem

    @override
    async def append_together(
        self, events: Sequence[tuple[UUID, bytes]]
    ) -> Sequence[Overloaded | None]:
        return await self._sink.append_together(events)

    def _flush(self) -> None:
        """Append what was asked for in this turn of the loop."""
        some, self._waiting = self._waiting, []
        task = asyncio.create_task(self._append(some))
        self._appends.add(task)
        task.add_done_callback(self._appends.discard)

    async def _append(self, some: Sequence[_Waiting]) -> None:
        try:
            events = [(each.event_id, each.payload) for each in some]
            problems = await self._sink.append_together(events)
        except Exception as error:  # noqa: BLE001 -- it is raised in each waiting task
            for each in some:
                if not each.answer.done():
                    each.answer.set_exception(error)
            return
        for each, problem in zip(some, problems, strict=True):
            if not each.answer.done():
                each.answer.set_result(problem)
