"""The client: sends a storm's traffic at its own pace, and remembers.

Open loop: an event is sent when its time has come, however the edges do. What may be sent
again without becoming another event is, until it is accepted; the rest is sent once.
"""

import asyncio
import time
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final
from uuid import UUID

from ingest.contracts.clickid import KeyRing
from scripts.bench.storm.http import Answer, Connections, Unanswered, encoded
from scripts.bench.storm.journal import Answered, Asked, Journal
from scripts.bench.storm.traffic import REPEATABLE, Event, Known, request

#: A client of ours gives up after this.
_ANSWER_SECONDS: Final = 4.0
#: Of one edge at a time; a balancer would not have more either.
_CONNECTIONS: Final = 500
_ATTEMPTS: Final = 6
_FIRST_PAUSE: Final = 0.25
_RETRIED: Final = frozenset({429, 500, 502, 503, 504})
_FULL_PAUSE: Final = 0.02
_REMEMBERED: Final = 500
_FOLLOWING: Final = frozenset({"lead", "dub lead", "sale"})


@dataclass(slots=True)
class Tally:
    """What came of the requests. Times are of `time.monotonic`, in seconds."""

    events: int = 0
    answers: Counter[str] = field(default_factory=Counter)
    accepted: int = 0
    #: Noes that no fault explains, in words.
    surprises: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0
    #: When the last request was sent that each edge accepted.
    last_good: list[float] = field(default_factory=lambda: [0.0, 0.0])
    last_yes: float = 0.0
    longest_gap: float = 0.0

    def begin(self, now: float) -> None:
        self.last_yes = now

    def take(self, edge: int, event: Event, answer: Answer, sent: float) -> None:
        now = time.monotonic()
        self.answers[str(answer.status)] += 1
        self.slowest = max(self.slowest, now - sent)
        if answer.is_accepted:
            self.accepted += 1
            self.last_good[edge] = max(self.last_good[edge], sent)
            self.longest_gap = max(self.longest_gap, now - self.last_yes)
            self.last_yes = now
        elif answer.status not in _RETRIED and event.kind != "unknown code":
            said = answer.body[:120].decode("utf-8", "replace")
            self.surprises[f"{event.kind}: {answer.status} {said}"] += 1

    def miss(self) -> None:
        self.answers["none"] += 1


class Client:
    """Sends events to the edges in turn; `ports` are the edges'."""

    def __init__(
        self, ports: Sequence[int], keys: KeyRing, journal: Journal, tally: Tally
    ) -> None:
        """`keys` tell which click an answered click id is."""
        self._edges = [Connections(port, _CONNECTIONS) for port in ports]
        self._keys = keys
        self._journal = journal
        self._tally = tally
        self._clicks: deque[str] = deque(maxlen=_REMEMBERED)
        self._customers: deque[str] = deque(maxlen=_REMEMBERED)

    async def send(self, events: Iterable[Event], rate: float) -> None:
        """Return when every event has its last answer, or none."""
        began = time.monotonic()
        self._tally.begin(began)
        async with asyncio.TaskGroup() as group:
            for event in events:
                wait = began + event.number / rate - time.monotonic()
                if wait > 0:
                    await asyncio.sleep(wait)
                group.create_task(self._see_through(event))
        for edge in self._edges:
            edge.close()

    async def _see_through(self, event: Event) -> None:
        self._tally.events += 1
        known = self._known(event)
        if known is None:
            # Nobody has clicked yet, so nobody can have signed up.
            event, known = replace(event, kind="click", again=None), Known()
        is_accepted, attempts = await self._try(event, known)
        if is_accepted and event.again is not None:
            await asyncio.sleep(event.again)
            await self._ask(event, known, attempts + 1)

    async def _try(self, event: Event, known: Known) -> tuple[bool, int]:
        attempts = _ATTEMPTS if event.kind in REPEATABLE else 1
        for attempt in range(1, attempts + 1):
            answer = await self._ask(event, known, attempt)
            if answer is not None and answer.is_accepted:
                self._remember(event, answer)
                return True, attempt
            if answer is not None and answer.status not in _RETRIED:
                return False, attempt
            if attempt < attempts:
                await asyncio.sleep(_FIRST_PAUSE * 2.0 ** (attempt - 1))
        return False, attempts

    async def _ask(self, event: Event, known: Known, attempt: int) -> Answer | None:
        """One request, from the journal to the journal; None where no answer came."""
        edge = await self._free(event.number + attempt)
        await self._journal.write(Asked(event.mark, event.kind, attempt))
        raw, sent = encoded(request(event, known, attempt)), time.monotonic()
        try:
            answer = await self._edges[edge].ask(raw, _ANSWER_SECONDS)
        except Unanswered:
            self._tally.miss()
            return None
        self._tally.take(edge, event, answer, sent)
        told = Answered(event.mark, attempt, answer.status, self._click_id(answer))
        await self._journal.write(told)
        return answer

    async def _free(self, turn: int) -> int:
        while True:
            for offset in range(len(self._edges)):
                edge = (turn + offset) % len(self._edges)
                if not self._edges[edge].is_full:
                    return edge
            await asyncio.sleep(_FULL_PAUSE)

    def _click_id(self, answer: Answer) -> UUID | None:
        told = answer.document.get("click_id")
        token = self._keys.verify(told) if isinstance(told, str) else None
        return token.click_id if token else None

    def _known(self, event: Event) -> Known | None:
        if event.kind not in _FOLLOWING:
            return Known()
        of = self._customers if event.kind == "sale" else self._clicks
        if not of:
            return None
        found = of[int(event.choice * len(of))]
        return Known(customer=found) if event.kind == "sale" else Known(click=found)

    def _remember(self, event: Event, answer: Answer) -> None:
        found = answer.document
        if event.kind in {"click", "keyed click"} and "click_id" in found:
            self._clicks.append(found["click_id"])
        elif event.kind in {"lead", "dub lead"}:
            self._customers.append(event.mark)
