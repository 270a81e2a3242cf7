"""The client: sends a storm's traffic at its own pace, and remembers.

Open loop: an event is sent when its time has come, however the edges do. What may be sent
again without becoming another event is, until it is accepted; the rest is sent once.
"""

import asyncio
import time
from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final
from uuid import UUID

import orjson

from ingest.contracts.clickid import KeyRing
from scripts.bench.load.http import Connections, body_of, status_of
from scripts.bench.storm.traffic import REPEATABLE, Event, refund_of, request

#: A client of ours gives up after this.
_ANSWER_SECONDS: Final = 4.0
#: Of one edge at a time; a balancer would not have more either.
_CONNECTIONS: Final = 500
_ATTEMPTS: Final = 6
_FIRST_PAUSE: Final = 0.25
#: Of a batch some events may be taken, and others not.
_RETRIED: Final = frozenset({207, 429, 500, 502, 503, 504})
#: Which events name a click of before, and which a customer.
_ABOUT: Final = {
    "lead": "click",
    "keyless lead": "click",
    "dub lead": "click",
    "sale": "customer",
}
_OK: Final = range(200, 300)
#: Noes in Affitor's and Affixo's words. An edge may have forgotten a sale with its Redis; the
#: refund counts all the same.
_EXPECTED: Final = frozenset({("unknown code", 400), ("refund", 404)})
_FULL_PAUSE: Final = 0.02
_REMEMBERED: Final = 500
_SHOWN: Final = 120


@dataclass(slots=True)
class History:
    """All that the client knows of one event. Repeats share its mark."""

    mark: str
    kind: str
    asked: int = 0
    #: How often it was told yes.
    accepted: int = 0
    #: The ids of a click, where answers say them.
    event_ids: set[UUID] = field(default_factory=set)


@dataclass(slots=True)
class Tally:
    """What came of the requests. Times are of `time.monotonic`, in seconds."""

    histories: dict[str, History] = field(default_factory=dict)
    answers: Counter[str] = field(default_factory=Counter)
    accepted: int = 0
    #: How long each answer took.
    took: list[float] = field(default_factory=list)
    #: Noes that no fault explains, in words.
    surprises: Counter[str] = field(default_factory=Counter)
    #: When the last request was sent that each edge accepted.
    last_good: list[float] = field(default_factory=lambda: [0.0, 0.0])
    last_yes: float = 0.0
    longest_gap: float = 0.0

    def take(self, edge: int, kind: str, answer: bytes, sent: float) -> bool:
        """Count an answer; whether it is a yes."""
        now, status = time.monotonic(), status_of(answer)
        self.answers[str(status)] += 1
        self.took.append(now - sent)
        if status in _OK:
            self.accepted += 1
            self.last_good[edge] = max(self.last_good[edge], sent)
            self.longest_gap = max(self.longest_gap, now - (self.last_yes or now))
            self.last_yes = now
        elif status not in _RETRIED and (kind, status) not in _EXPECTED:
            self.surprise(kind, status, body_of(answer))
        return status in _OK

    def surprise(self, kind: str, status: int, body: bytes) -> None:
        said = body[:_SHOWN].decode("utf-8", "replace")
        self.surprises[f"{kind}: {status} {said}"] += 1


class Client:
    """Sends events to the edges in turn; `ports` are the edges'."""

    def __init__(self, ports: Sequence[int], keys: KeyRing, tally: Tally) -> None:
        """`keys` tell which click an answered click id is."""
        self._edges = [Connections(port, _ANSWER_SECONDS) for port in ports]
        self._keys = keys
        self._tally = tally
        self._clicks: deque[str] = deque(maxlen=_REMEMBERED)
        self._customers: deque[str] = deque(maxlen=_REMEMBERED)
        self._sales: deque[str] = deque(maxlen=_REMEMBERED)

    async def send(self, events: Iterable[Event], rate: float) -> None:
        """Return when every event has its last answer, or none."""
        began = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for event in events:
                await asyncio.sleep(began + event.number / rate - time.monotonic())
                group.create_task(self._see_through(event))
        for edge in self._edges:
            edge.close()

    async def _see_through(self, event: Event) -> None:
        known = self._known(event)
        if known is None:
            # Nobody has clicked yet, so nobody can have signed up.
            event, known = replace(event, kind="click", again=None), ""
        if event.kind == "refund":
            event = replace(event, mark=refund_of(known))
        histories = [History(each.mark, event.kind) for each in event.each]
        self._tally.histories.update({each.mark: each for each in histories})
        is_accepted = await self._try(event, known, histories)
        if is_accepted and event.again is not None:
            await asyncio.sleep(event.again)
            await self._ask(event, known, histories)

    async def _try(
        self, event: Event, known: str, histories: Sequence[History]
    ) -> bool:
        attempts = _ATTEMPTS if event.kind in REPEATABLE else 1
        for attempt in range(attempts):
            if attempt:
                await asyncio.sleep(_FIRST_PAUSE * 2.0 ** (attempt - 1))
            answer = await self._ask(event, known, histories)
            if all(each.accepted for each in histories):
                self._remember(event, _document(answer))
                return True
            if answer and status_of(answer) not in _RETRIED:
                return False
        return False

    async def _ask(
        self, event: Event, known: str, histories: Sequence[History]
    ) -> bytes:
        """One request, remembered with its answer; nothing where none came."""
        for history in histories:
            history.asked += 1
        asked = histories[0].asked
        edge = await self._free(event.number + asked)
        raw, sent = request(event, known, asked), time.monotonic()
        try:
            answer = await self._edges[edge].ask(raw)
        except (OSError, TimeoutError):
            self._tally.answers["none"] += 1
            return b""
        if self._tally.take(edge, event.kind, answer, sent):
            told = _document(answer)
            for history, one in zip(
                histories, told.get("results", [told]), strict=True
            ):
                self._note(history, one)
        return answer

    def _note(self, history: History, told: Mapping[str, Any]) -> None:
        """Remember what one event was told: by itself, or among others' results."""
        if told.get("result") == "refused":
            if not told["retryable"]:
                self._tally.surprise(history.kind, told["status"], orjson.dumps(told))
            return
        history.accepted += 1
        click = told.get("body", told).get("click_id")
        token = self._keys.verify(click) if isinstance(click, str) else None
        if token is not None:
            history.event_ids.add(token.click_id)

    async def _free(self, turn: int) -> int:
        while True:
            for offset in range(len(self._edges)):
                edge = (turn + offset) % len(self._edges)
                if self._edges[edge].under_way < _CONNECTIONS:
                    return edge
            await asyncio.sleep(_FULL_PAUSE)

    def _known(self, event: Event) -> str | None:
        """What an event needs of earlier answers; None where there is none yet."""
        if event.kind == "batch":
            return self._clicks[-1] if self._clicks else ""
        if event.kind == "refund":
            return self._sales.popleft() if self._sales else None
        if event.kind not in _ABOUT:
            return ""
        found = self._clicks if _ABOUT[event.kind] == "click" else self._customers
        return found[int(event.choice * len(found))] if found else None

    def _remember(self, event: Event, document: Mapping[str, Any]) -> None:
        if event.kind in {"click", "keyed click"} and "click_id" in document:
            self._clicks.append(document["click_id"])
        elif event.kind in {"lead", "dub lead"}:
            self._customers.append(event.mark)
        elif event.kind == "code sale":
            self._sales.append(event.mark)


def _document(answer: bytes) -> Mapping[str, Any]:
    """The body, or nothing where it is no JSON object."""
    try:
        document = orjson.loads(body_of(answer))
    except orjson.JSONDecodeError:
        return {}
    return document if isinstance(document, dict) else {}
