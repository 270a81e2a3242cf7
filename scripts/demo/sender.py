"""Sends clicks, leads and examples to an edge, and counts what was answered."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp
import orjson

from scripts.demo.traffic import API_KEY, CLICK, LEAD, DemoClick, lead
from scripts.demo.vendors import VendorRequest

CONNECTIONS: Final = 64
TROUBLE: Final = (aiohttp.ClientError, TimeoutError, OSError)
_ANSWER_SECONDS: Final = 30.0
_PAUSE_SECONDS: Final = 0.2
_OK: Final = 200
_FAULT: Final = 500


@dataclass(frozen=True, slots=True)
class Answer:
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


@dataclass(slots=True)
class Tally:
    """Requests by what became of them, and the events that must be recorded."""

    sent: Counter[str] = field(default_factory=Counter)
    accepted: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    unanswered: Counter[str] = field(default_factory=Counter)
    #: Without a clear answer: it may have become an event, or not.
    uncertain: int = 0
    #: Leads whose click had no answer to name.
    skipped: int = 0
    #: Clicks, leads and repeats that were accepted.
    expected: Counter[str] = field(default_factory=Counter)

    @property
    def events(self) -> int:
        """Accepted events, each once."""
        return self.expected["clicks"] + self.expected["leads"]

    def take(self, kind: str, answer: Answer, *, is_repeat: bool) -> None:
        if answer.is_accepted:
            self.accepted += 1
            self.expected["repeats" if is_repeat else kind] += 1
        else:
            self.refused[answer.reason] += 1
            self.uncertain += answer.status >= _FAULT

    def lose(self, error: BaseException) -> None:
        self.unanswered[type(error).__name__] += 1
        self.uncertain += 1


@asynccontextmanager
async def session(url: str) -> AsyncIterator[aiohttp.ClientSession]:
    """Connections to the edge at `url`."""
    async with aiohttp.ClientSession(
        url,
        connector=aiohttp.TCPConnector(limit=CONNECTIONS),
        timeout=aiohttp.ClientTimeout(total=_ANSWER_SECONDS),
        cookie_jar=aiohttp.DummyCookieJar(),
    ) as opened:
        yield opened


async def send_example(http: aiohttp.ClientSession, example: VendorRequest) -> Answer:
    """Send it byte for byte. Raises what aiohttp raises."""
    async with http.request(
        example.method, example.path, data=example.body or None, headers=example.headers
    ) as answered:
        return Answer(answered.status, await answered.read())


class Sender:
    """Sends the clicks of a run, and the leads that follow them."""

    def __init__(
        self, http: aiohttp.ClientSession, run: str, forward: str, tally: Tally
    ) -> None:
        """`forward`: a key that may say from which addresses the clicks come."""
        self._http = http
        self._run = run
        self._forward = {"X-Reftide-Forward": forward}
        self._tally = tally

    async def send(self, clicks: Iterator[DemoClick]) -> None:
        """Return when everything has its answer, or none."""
        async with asyncio.TaskGroup() as group:
            for _ in range(CONNECTIONS):
                group.create_task(self._send(clicks))

    async def _send(self, clicks: Iterator[DemoClick]) -> None:
        for click in clicks:
            token: str | None = None
            headers = {**click.headers, **self._forward}
            for _ in range(click.times):
                answer = await self._post(
                    "clicks", CLICK, click.body, headers, is_repeat=bool(token)
                )
                token = answer.get("click_id", token)
            if click.has_lead:
                await self._lead(click, token)

    async def _lead(self, click: DemoClick, token: str | None) -> None:
        if token is None:
            self._tally.skipped += 1
            return
        headers = {
            "Content-Type": "application/json",
            "Authorization": f"Bearer {API_KEY}",
        }
        body = lead(self._run, click, token)
        await self._post("leads", LEAD, body, headers, is_repeat=False)

    async def _post(
        self,
        kind: str,
        path: str,
        body: Mapping[str, Any],
        headers: Mapping[str, str],
        *,
        is_repeat: bool,
    ) -> Mapping[str, Any]:
        """The document of an answer that accepts, else nothing."""
        self._tally.sent[kind] += 1
        try:
            async with self._http.post(
                path, data=orjson.dumps(body), headers=headers
            ) as answered:
                answer = Answer(answered.status, await answered.read())
        except TROUBLE as error:
            self._tally.lose(error)
            # The edge may be starting again.
            await asyncio.sleep(_PAUSE_SECONDS)
            return {}
        self._tally.take(kind, answer, is_repeat=is_repeat)
        return answer.document if answer.is_accepted else {}
