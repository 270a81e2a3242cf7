"""Which events of a batch wait for which.

Events of one customer or fingerprint follow one another: what the first says may be what
the second is answered by. Events with one dedupe key are one event: as soon as one of them
is durable, all others are its repeats, in any order.
"""

import asyncio
from collections.abc import Hashable, Iterator, Sequence
from typing import Any, NamedTuple

from ingest.dialects.spec.events import (
    ByCode,
    ByCustomer,
    ByFingerprint,
    Draft,
    FirstOf,
    Target,
)

Result = dict[str, Any]
_Task = asyncio.Task[Result]


class Subjects(NamedTuple):
    """Whom an event is about, and which event it is; None: like no other of its batch."""

    people: frozenset[tuple[str, str]]
    identity: Hashable = None


def subjects(drafts: Sequence[Draft], path: str, key: str | None) -> Subjects:
    """The subjects of a batch's event, which was sent to a path with an idempotency key."""
    people = frozenset(person for draft in drafts for person in _people(draft))
    keys = tuple(draft.dedupe or (key and (path, key)) for draft in drafts)
    return Subjects(people, keys if keys and all(keys) else None)


def _people(draft: Draft) -> Iterator[tuple[str, str]]:
    if draft.external_id is not None:
        yield "customer", draft.external_id
    if draft.fingerprint is not None:
        yield "fingerprint", draft.fingerprint
    if not isinstance(draft.target, ByCode):
        yield from _named(draft.target)


def _named(target: Target) -> Iterator[tuple[str, str]]:
    for each in target.targets if isinstance(target, FirstOf) else (target,):
        if isinstance(each, ByCustomer):
            yield "customer", each.external_id
        elif isinstance(each, ByFingerprint):
            yield "fingerprint", each.fingerprint


class Order:
    """The order of the events of one part of a batch, each a task."""

    def __init__(self) -> None:
        #: The last event about somebody.
        self._last: dict[Hashable, _Task] = {}
        #: The event of an identity that is tried, or durable.
        self._tried: dict[Hashable, _Task] = {}

    def before(self, about: Subjects) -> set[_Task]:
        """The last events so far about anybody whom an event is about."""
        return {self._last[each] for each in about.people if each in self._last}

    def add(self, about: Subjects, task: _Task) -> None:
        """The task of the next event; to be called before it runs."""
        self._last.update(dict.fromkeys(about.people, task))

    async def wait(self, about: Subjects, earlier: set[_Task]) -> None:
        """Return when it is the turn of the current task's event."""
        if about.identity is not None and await self._is_repeat(about.identity):
            return
        if earlier:
            await asyncio.wait(earlier)

    async def _is_repeat(self, identity: Hashable) -> bool:
        """Whether an event is durable that is the same; if not, no other is tried now."""
        while (tried := self._tried.get(identity)) is not None:
            await asyncio.wait([tried])
            if not tried.cancelled() and tried.result()["result"] != "refused":
                return True
            if self._tried[identity] is tried:
                break
        task = asyncio.current_task()
        if task is not None:
            self._tried[identity] = task
        return False
