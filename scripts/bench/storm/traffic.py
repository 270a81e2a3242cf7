"""What a storm sends: a pure function of the seed.

Every event bears a mark of ours, which is found again in its row: clicks in the page's URL,
leads and sales in their metadata. Whatever is sent again bears the mark of the first.
"""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from scripts.bench.load.http import framed
from scripts.bench.load.traffic import PATH, address
from scripts.demo.agents import agents
from scripts.demo.traffic import API_KEY

#: Of a hundred events. A `mute click` is bio.re's, which is never told no.
_SHARES: Final[Mapping[str, int]] = {
    "click": 55,
    "keyed click": 10,
    "short click": 4,
    "mute click": 8,
    "lead": 11,
    "dub lead": 5,
    "sale": 5,
    "unknown code": 2,
}

#: What may be sent again without becoming another event.
REPEATABLE: Final = frozenset({"keyed click", "lead", "dub lead", "sale"})
_AGAIN: Final = 0.25
_LONGEST_PAUSE: Final = 2.0
_ADDRESSES: Final = 131_072
_AGENTS: Final = [name for name, is_bot in agents() if not is_bot]
_PAGE: Final = "https://yoursite.com/?storm="

#: A path, headers and a document, if any.
Parts = tuple[str, Mapping[str, str], Mapping[str, Any] | None]


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happens once. `again`: send it once more so many seconds later."""

    number: int
    mark: str
    kind: str
    code: str
    again: float | None
    #: Which of the clicks or customers that are known by then it is about.
    choice: float


def events(seed: int, count: int, codes: Sequence[str]) -> Iterator[Event]:
    """So many events on these links."""
    draw = random.Random(seed)  # noqa: S311 -- the same seed, the same storm
    kinds, shares = [*_SHARES], [*_SHARES.values()]
    for number in range(count):
        (kind,) = draw.choices(kinds, shares)
        is_again = kind in REPEATABLE and draw.random() < _AGAIN
        yield Event(
            number=number,
            mark=f"{seed}-{number}",
            kind=kind,
            code=draw.choice(codes),
            again=draw.uniform(0, _LONGEST_PAUSE) if is_again else None,
            choice=draw.random(),
        )


def request(event: Event, known: str, attempt: int) -> bytes:
    """The whole request of an attempt; leads name a `known` click, sales a customer.

    Repeats differ in what does not make them another event.
    """
    path, headers, document = _PARTS[event.kind](event, known, attempt)
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    if document is None:
        return framed(path, lines, b"")
    lines += "Content-Type: application/json\r\n"
    return framed(path, lines, orjson.dumps(document))


def _browser(event: Event, **more: str) -> dict[str, str]:
    """Of a visitor who was never here before."""
    agent = _AGENTS[event.number // _ADDRESSES % len(_AGENTS)]
    return {"User-Agent": agent, "X-Forwarded-For": address(event.number), **more}


def _click(event: Event, code: str = "") -> dict[str, str]:
    return {
        "affiliate_url": f"https://yoursite.com/?aff={code or event.code}",
        "page_url": f"{_PAGE}{event.mark}",
        "session_id": event.mark,
        "language": "en-US",
    }


def _short(event: Event) -> dict[str, str]:
    domain, key = "go.yoursite.com", "alice"
    return {"domain": domain, "key": key, "url": f"{_PAGE}{event.mark}"}


def _lead(event: Event, click: str, attempt: int) -> dict[str, Any]:
    return {
        "clickId": click,
        "eventName": "Sign Up",
        "customerExternalId": event.mark,
        "customerEmail": f"{event.mark}@example.com",
        "metadata": {"storm": event.mark, "attempt": attempt},
    }


def _sale(event: Event, customer: str, attempt: int) -> dict[str, Any]:
    return {
        "customerExternalId": customer,
        "amount": 100 + event.number % 9_900,
        "currency": "usd",
        "invoiceId": event.mark,
        "metadata": {"storm": event.mark, "attempt": attempt},
    }


_SERVER: Final = {"User-Agent": "storm", "Authorization": f"Bearer {API_KEY}"}
_PARTS: Final[Mapping[str, Callable[[Event, str, int], Parts]]] = {
    "click": lambda event, *_: (PATH, _browser(event), _click(event)),
    "keyed click": lambda event, *_: (
        PATH,
        _browser(event, **{"Idempotency-Key": event.mark}),
        _click(event),
    ),
    "short click": lambda event, *_: ("/track/click", _browser(event), _short(event)),
    "mute click": lambda event, *_: (
        f"/api/v1/referral/click/{event.code}",
        _browser(event, Referer=f"{_PAGE}{event.mark}"),
        None,
    ),
    "lead": lambda *which: ("/api/track/lead", _SERVER, _lead(*which)),
    "dub lead": lambda *which: ("/track/lead", _SERVER, _lead(*which)),
    "sale": lambda *which: ("/track/sale", _SERVER, _sale(*which)),
    "unknown code": lambda event, *_: (
        PATH,
        _browser(event),
        _click(event, "NOBODYS"),
    ),
}
