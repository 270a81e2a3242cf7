"""Processes the events of a batch, each like a request of its own.

Several run concurrently, so that they share round trips to Redis and pipelines; not all at
once, and with a yield every few milliseconds, so that other requests do not wait long for
the event loop. Events of one subject are processed in order.
"""

import asyncio
from collections.abc import Hashable, Sequence
from copy import copy
from dataclasses import dataclass, replace
from time import monotonic
from typing import Final, Literal, NamedTuple, Self

from ingest.bulk.admission import BatchSlots
from ingest.bulk.items import BulkItem, InvalidItem, item
from ingest.bulk.order import Order, Result, Subjects, subjects
from ingest.bulk.routing import RouteTable
from ingest.bulk.shared_entries import SharedEntries
from ingest.core.accept import Acceptor, Call, Taken
from ingest.core.authorize import Principal
from ingest.dialects.batch import BATCH, ROUTE, answer, refused, taken
from ingest.dialects.spec.events import Draft
from ingest.dialects.spec.refusal import Refusal
from ingest.dialects.spec.requests import RawRequest, Reply
from ingest.dialects.spec.routes import Credential, Dialect, Endpoint
from ingest.http.driver import Turns

#: Concurrent events of one batch, and of all: some milliseconds of work, which the replies
#: of Redis may bring at a time. More would not be faster, and other requests would wait.
_AT_ONCE: Final = 32
_UNDER_WAY: Final = 64
#: How long a batch prepares events before it yields to other requests.
_SLICE_SECONDS: Final = 0.002
#: Of a body that takes as long.
_SLICE_BYTES: Final = 32 * 1024
_RETRY_AFTER: Final = 1  # seconds

_Scope = Literal["read", "write", "track", "forward", "anybody"]
_ANYBODY: Final = "anybody"


@dataclass(frozen=True, slots=True)
class BatchSender:
    """The sender of a batch: its headers, its address, and its key."""

    raw: RawRequest
    principal: Principal

    @property
    def workspace(self) -> Hashable:
        """The workspace, or the key that nobody could check."""
        return self.principal.workspace_id or self.principal.api_key_hashes


class _Event(NamedTuple):
    """A valid event, and its subjects."""

    call: Call
    endpoint: Endpoint
    drafts: Sequence[Draft]
    #: The address that rate limits count.
    counted_ip: str | None
    subjects: Subjects


class BulkProcessor:
    """Takes batches. One for all requests of an edge."""

    def __init__(
        self, acceptor: Acceptor, dialects: Sequence[Dialect], turns: Turns
    ) -> None:
        self.acceptor = acceptor
        self._routes = RouteTable(dialects)
        self._slots = BatchSlots(_UNDER_WAY, share=_AT_ONCE)
        self._turns = turns

    def using(self, acceptor: Acceptor) -> Self:
        """The same, with another acceptor for one request."""
        other = copy(self)
        other.acceptor = acceptor
        return other

    async def admit(self, raw: RawRequest) -> BatchSender:
        """The sender by these headers; raises Refusal."""
        authorizer = self.acceptor.authorizer
        principal = await authorizer.identify(BATCH, ROUTE.credential, raw)
        # The key's own limit counts events.
        await authorizer.count(
            BATCH, ROUTE, replace(principal, api_key_id=None), raw.ip
        )
        return BatchSender(raw, principal)

    async def take(self, sender: BatchSender, events: Sequence[bytes]) -> Reply:
        """The answer to a batch; every event in it is durable, or refused."""
        shared = SharedEntries(self.acceptor.sink)
        acceptor = replace(self.acceptor, sink=shared)
        batch = _Batch(acceptor, self._routes, sender, self._turns)
        results: list[Result] = []
        try:
            for start in range(0, len(events), _AT_ONCE):
                part = events[start : start + _AT_ONCE]
                async with self._slots.of(sender.workspace, len(part)):
                    results += await batch.take(part)
        except Refusal as refusal:
            # After a part that was not admitted none is tried: the client sends them again.
            left_out = len(events) - len(results)
            results += [batch.refused(BATCH, refusal) for _ in range(left_out)]
        return answer(results)


class _Batch:
    """One batch in progress."""

    def __init__(
        self,
        acceptor: Acceptor,
        routes: RouteTable,
        sender: BatchSender,
        turns: Turns,
    ) -> None:
        self._acceptor = acceptor
        self._routes = routes
        self._sender = sender
        self._turns = turns
        self._now = acceptor.clock.now()
        #: By dialect and scope: the key's principal, or its refusal.
        self._principals: dict[tuple[str, str], Principal | Refusal] = {}

    async def take(self, events: Sequence[bytes]) -> list[Result]:
        """The results of one part; it ends before the next one begins."""
        order = Order()
        results: list[Result | asyncio.Task[Result]] = []
        await self._turns.turn(_SLICE_BYTES)
        until = monotonic() + _SLICE_SECONDS
        async with asyncio.TaskGroup() as group:
            for raw in events:
                if monotonic() > until:
                    # The tasks that were created begin, and other requests go on.
                    await self._turns.turn(_SLICE_BYTES)
                    until = monotonic() + _SLICE_SECONDS
                ready = await self._prepared(raw)
                if isinstance(ready, _Event):
                    about = ready.subjects
                    earlier = order.before(about)
                    process = self._process(ready, order, earlier)
                    task = group.create_task(process)
                    order.add(about, task)
                    results.append(task)
                else:
                    results.append(ready)
        return [
            each.result() if isinstance(each, asyncio.Task) else each
            for each in results
        ]

    async def _prepared(self, raw: bytes) -> _Event | Result:
        dialect = BATCH
        try:
            found = item(raw, self._routes)
            dialect = found.dialect
            return await self._event(found)
        except InvalidItem as unfit:
            return self.refused(unfit.dialect, unfit.refusal)
        except Refusal as refusal:
            return self.refused(dialect, refusal)
        except Exception as error:  # noqa: BLE001 -- a bug that one event meets, and it is logged
            return self._failed(dialect, error)

    async def _event(self, found: BulkItem) -> _Event:
        dialect, endpoint = found.dialect, found.endpoint
        wanted = endpoint.credential
        principal = await self._principal(dialect, wanted.scope if wanted else _ANYBODY)
        if found.is_forwarded:
            await self._principal(dialect, "forward")
            # An unverified answer is not cached: the directory may be back soon.
            if not principal.is_verified:
                raise Refusal("overloaded", retry_after=_RETRY_AFTER)
        at = self._now if found.at is None else min(found.at, self._now)
        drafts = [*endpoint.parse(found.raw)]
        return _Event(
            call=Call(dialect, endpoint.path, found.raw, principal, at),
            endpoint=endpoint,
            drafts=drafts,
            counted_ip=found.raw.ip or self._sender.raw.ip,
            subjects=subjects(drafts, endpoint.path, found.idempotency_key),
        )

    async def _principal(self, dialect: Dialect, scope: _Scope) -> Principal:
        """The principal of the batch's key; raises Refusal."""
        place = (dialect.name, scope)
        found = self._principals.get(place)
        if found is None:
            found = self._principals[place] = await self._identified(dialect, scope)
        if isinstance(found, Refusal):
            raise Refusal(found.code, field=found.field, retry_after=found.retry_after)
        return found

    async def _identified(self, dialect: Dialect, scope: _Scope) -> Principal | Refusal:
        authorizer = self._acceptor.authorizer
        wanted = Credential(scope="track" if scope == _ANYBODY else scope)
        try:
            found = await authorizer.identify(dialect, wanted, self._sender.raw)
        except Refusal as refusal:
            return refusal
        # Events of public routes are sealed without a key, as in single requests.
        return replace(found, api_key_id=None) if scope == _ANYBODY else found

    async def _process(
        self, event: _Event, order: Order, earlier: set[asyncio.Task[Result]]
    ) -> Result:
        await order.wait(event.subjects, earlier)
        dialect = event.call.dialect
        try:
            return _result_of(await self._accepted(event))
        except Refusal as refusal:
            return self.refused(dialect, refusal)
        except Exception as error:  # noqa: BLE001 -- likewise
            return self._failed(dialect, error)

    async def _accepted(self, event: _Event) -> Taken:
        call, endpoint = event.call, event.endpoint
        await self._acceptor.authorizer.count(
            call.dialect, endpoint, call.principal, event.counted_ip
        )
        return await self._acceptor.take(call, endpoint, event.drafts)

    def refused(self, dialect: Dialect, refusal: Refusal) -> Result:
        return refused(refusal, self._acceptor.refuse(dialect, refusal))

    def _failed(self, dialect: Dialect, error: Exception) -> Result:
        self._acceptor.log.error("edge.failed", exc_info=error, path=ROUTE.path)
        return self.refused(dialect, Refusal("failed", field=ROUTE.path))


def _result_of(done: Taken) -> Result:
    if done.refusal is not None:
        return refused(done.refusal, done.reply)
    return taken(done.event_id, done.reply, is_repeat=done.is_repeat)
