"""What a storm sends: a pure function of the seed.

Every event bears a mark of ours, which is found again in its row: clicks in the page's URL,
leads and sales in their metadata. Whatever is sent again bears the mark of the first.
"""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from scripts.bench.load.traffic import address
from scripts.demo.agents import agents
from scripts.demo.traffic import API_KEY

Kind = Literal[
    "click", "keyed click", "short click", "mute click", "lead", "dub lead", "sale",
    "unknown code",
]  # fmt: skip

#: Of a hundred events. A `mute click` is bio.re's, which is never told no.
_SHARES: Final[Mapping[Kind, int]] = {
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
REPEATABLE: Final[frozenset[Kind]] = frozenset(
    {"keyed click", "lead", "dub lead", "sale"}
)
_AGAIN: Final = 0.25
_LONGEST_PAUSE: Final = 2.0
_ADDRESSES: Final = 131_072

_PAGE: Final = "https://yoursite.com/?storm="
_DOMAIN: Final = ("go.yoursite.com", "alice")


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happens once. `again`: send it once more so many seconds later."""

    number: int
    mark: str
    kind: Kind
    code: str
    again: float | None
    #: Which of the clicks or customers that are known by then it is about.
    choice: float


@dataclass(frozen=True, slots=True)
class Known:
    """What leads and sales need of earlier answers: a click id, or a customer's."""

    click: str = ""
    customer: str = ""


@dataclass(frozen=True, slots=True)
class Request:
    """One attempt, to be sent as it stands."""

    path: str
    headers: Mapping[str, str]
    body: Mapping[str, Any] | None


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


def request(event: Event, known: Known, attempt: int) -> Request:
    """The request of an attempt. Repeats differ in what does not make them another event."""
    return _REQUESTS[event.kind](event, known, attempt)


def _click(event: Event, _known: Known, _attempt: int) -> Request:
    page = f"{_PAGE}{event.mark}"
    body = {
        "affiliate_url": f"https://yoursite.com/?aff={event.code}",
        "page_url": page,
        "session_id": event.mark,
        "language": "en-US",
    }
    return Request("/api/v1/track/click", _browser(event), body)


def _keyed_click(event: Event, known: Known, attempt: int) -> Request:
    plain = _click(event, known, attempt)
    return Request(
        plain.path, {**plain.headers, "Idempotency-Key": event.mark}, plain.body
    )


def _unknown_code(event: Event, _known: Known, _attempt: int) -> Request:
    plain = _click(event, _known, _attempt)
    body = {**(plain.body or {}), "affiliate_url": "https://yoursite.com/?aff=NOBODYS"}
    return Request(plain.path, plain.headers, body)


def _short_click(event: Event, _known: Known, _attempt: int) -> Request:
    domain, key = _DOMAIN
    body = {"domain": domain, "key": key, "url": f"{_PAGE}{event.mark}"}
    return Request("/track/click", _browser(event), body)


def _mute_click(event: Event, _known: Known, _attempt: int) -> Request:
    headers = {**_browser(event), "Referer": f"{_PAGE}{event.mark}"}
    return Request(f"/api/v1/referral/click/{event.code}", headers, None)


def _lead(event: Event, known: Known, attempt: int) -> Request:
    body = {
        "clickId": known.click,
        "eventName": "Sign Up",
        "customerExternalId": event.mark,
        "customerEmail": f"{event.mark}@example.com",
        "metadata": {"storm": event.mark, "attempt": attempt},
    }
    return Request("/api/track/lead", _server(), body)


def _dub_lead(event: Event, known: Known, attempt: int) -> Request:
    plain = _lead(event, known, attempt)
    return Request("/track/lead", plain.headers, plain.body)


def _sale(event: Event, known: Known, attempt: int) -> Request:
    body = {
        "customerExternalId": known.customer,
        "amount": 100 + event.number % 9_900,
        "currency": "usd",
        "invoiceId": event.mark,
        "metadata": {"storm": event.mark, "attempt": attempt},
    }
    return Request("/track/sale", _server(), body)


_REQUESTS: Final[Mapping[Kind, Callable[[Event, Known, int], Request]]] = {
    "click": _click,
    "keyed click": _keyed_click,
    "short click": _short_click,
    "mute click": _mute_click,
    "lead": _lead,
    "dub lead": _dub_lead,
    "sale": _sale,
    "unknown code": _unknown_code,
}

_AGENTS: Final = [name for name, is_bot in agents() if not is_bot]


def _browser(event: Event) -> dict[str, str]:
    """Of a visitor who was never here before."""
    agent = _AGENTS[event.number // _ADDRESSES % len(_AGENTS)]
    return {"User-Agent": agent, "X-Forwarded-For": address(event.number)}


def _server() -> dict[str, str]:
    return {"User-Agent": "storm", "Authorization": f"Bearer {API_KEY}"}
