"""Sends steps and examples to an edge, and tells the tally what was answered. Used by `play`."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from typing import Any, Final, NamedTuple

import aiohttp
import orjson

from scripts.demo.steps import Click, Lead, Step, Visit, Visitor
from scripts.demo.tally import Tally
from scripts.demo.vendors import Example

#: The key of the demo workspace that Refport's page shows.
API_KEY: Final = "YOUR_API_KEY"

#: Under this name every event of a run carries the run's name.
MARK: Final = "demo"

_CLICK: Final = "/api/v1/track/click"
_LEAD: Final = "/api/track/lead"
_SITE: Final = "https://shop.example.com"
_ANSWER_SECONDS: Final = 30.0
_PAUSE_SECONDS: Final = 0.2
_OK: Final = 200
_FAULT: Final = 500

_TROUBLE: Final = (aiohttp.ClientError, TimeoutError, OSError)


class Answer(NamedTuple):
    """What an edge said, as it said it."""

    status: int
    body: bytes

    @property
    def document(self) -> dict[str, Any]:
        """The body, or nothing where it is no JSON object."""
        try:
            document = orjson.loads(self.body)
        except orjson.JSONDecodeError:
            return {}
        return document if isinstance(document, dict) else {}

    @property
    def is_accepted(self) -> bool:
        return self.status == _OK and self.document.get("success", True) is True

    @property
    def reason(self) -> str:
        """The status and the words of a no."""
        document = self.document
        said = document.get("error", document.get("message", ""))
        if isinstance(said, dict):
            said = said.get("code", "")
        return f"{self.status} {said}".strip()


@asynccontextmanager
async def session(url: str, connections: int) -> AsyncIterator[aiohttp.ClientSession]:
    """Connections to the edge at `url`, at most so many at a time."""
    async with aiohttp.ClientSession(
        url,
        connector=aiohttp.TCPConnector(limit=connections),
        timeout=aiohttp.ClientTimeout(total=_ANSWER_SECONDS),
        cookie_jar=aiohttp.DummyCookieJar(),
    ) as opened:
        yield opened


async def send_example(http: aiohttp.ClientSession, example: Example) -> Answer:
    """Send it byte for byte. Raises what aiohttp raises."""
    async with http.request(
        example.method, example.path, data=example.body or None, headers=example.headers
    ) as answered:
        return Answer(answered.status, await answered.read())


class Sender:
    """Plays visits; remembers the click ids that visitors were given."""

    def __init__(self, http: aiohttp.ClientSession, run: str, tally: Tally) -> None:
        """`run` marks every event, and makes its keys and customers the run's own."""
        self._http = http
        self._run = run
        self._tally = tally
        self._tokens: dict[int, str] = {}

    async def play(self, visits: Iterable[Visit], at_once: int) -> None:
        """Return when every step has its answer, or none."""
        waiting = iter(visits)
        async with asyncio.TaskGroup() as group:
            for _ in range(at_once):
                group.create_task(self._play(waiting))

    async def _play(self, visits: Iterator[Visit]) -> None:
        for visit in visits:
            keyed = _sent_twice(visit)
            for step in visit.steps:
                match step:
                    case Click():
                        await self._click(visit.visitor, step, keyed)
                    case Lead():
                        await self._lead(visit.visitor, step)

    async def _click(self, visitor: Visitor, click: Click, keyed: set[int]) -> None:
        headers = {
            "Content-Type": "application/json",
            "User-Agent": visitor.agent,
            "Accept-Language": visitor.language,
            "X-Forwarded-For": visitor.ip,
        }
        if click.event in keyed:
            headers["Idempotency-Key"] = f"{self._run}-{click.event}"
        token = self._tokens.get(visitor.number) if click.comes_back else None
        document = click_body(visitor, click, self._run, token)
        answer = await self._send(click, _CLICK, document, headers)
        if answer and "click_id" in answer:
            self._tokens.setdefault(visitor.number, answer["click_id"])

    async def _lead(self, visitor: Visitor, lead: Lead) -> None:
        token = self._tokens.get(visitor.number)
        if token is None:
            self._tally.skipped += 1
            return
        headers = {
            "Content-Type": "application/json",
            "Authorization": f"Bearer {API_KEY}",
        }
        await self._send(lead, _LEAD, lead_body(lead, self._run, token), headers)

    async def _send(
        self, step: Step, path: str, document: dict[str, Any], headers: dict[str, str]
    ) -> dict[str, Any] | None:
        """The answer's document where the event was accepted."""
        self._tally.send(step)
        try:
            async with self._http.post(
                path, data=orjson.dumps(document), headers=headers
            ) as answered:
                answer = Answer(answered.status, await answered.read())
        except _TROUBLE as error:
            self._tally.lose(step, type(error).__name__)
            # Whoever restarts the edge has a moment.
            await asyncio.sleep(_PAUSE_SECONDS)
            return None
        if answer.is_accepted:
            self._tally.accept(step)
            return answer.document
        is_certain = answer.status < _FAULT
        self._tally.refuse(step, answer.reason, is_certain=is_certain)
        return None


def _sent_twice(visit: Visit) -> set[int]:
    """Events that need an idempotency key, on either occasion."""
    times = Counter(step.event for step in visit.steps)
    return {event for event, count in times.items() if count > 1}


def click_body(
    visitor: Visitor, click: Click, run: str, token: str | None
) -> dict[str, Any]:
    """What Affitor's tracker says of a click."""
    extra: dict[str, Any] = {MARK: run}
    if click.program is not None:
        extra |= {"test_mode": True, "program_id": click.program}
    document = {
        "affiliate_url": f"{_SITE}{click.page}?aff={click.code}",
        "page_url": f"{_SITE}{click.page}",
        "page_title": "Shop",
        "referrer_url": click.referrer,
        "session_id": f"{run}-{visitor.number}",
        "screen_resolution": visitor.screen,
        "viewport_size": visitor.screen,
        "language": visitor.language,
        "timezone": visitor.timezone,
        "additional_data": extra,
    }
    return document if token is None else {**document, "existing_click_id": token}


def lead_body(lead: Lead, run: str, token: str) -> dict[str, Any]:
    """What a shop's server tells Refport of a lead."""
    return {
        "clickId": token,
        "eventName": lead.event_name,
        "customerExternalId": f"{run}-{lead.customer}",
        "customerEmail": lead.email,
        "customerName": lead.name,
        "metadata": {"plan": "free", MARK: run},
    }
