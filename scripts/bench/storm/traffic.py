"""What a storm sends: a pure function of the seed.

Every event bears a mark of ours, which is found again in its row: clicks in the page's URL,
leads and sales in their metadata. Whatever is sent again bears the mark of the first.
"""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import orjson

from ingest.dialects.batch import ROUTE
from scripts.bench.load.http import framed
from scripts.bench.load.traffic import PATH, address
from scripts.demo.agents import agents
from scripts.demo.traffic import API_KEY

#: Of a hundred requests. A `mute click` is bio.re's, which is never told no; a `keyless lead`
#: is a browser's, recorded and perhaps flagged. A `code sale` is Affixo's, of a link itself, and a
#: `refund` is of one.
_SHARES: Final[Mapping[str, int]] = {
    "click": 46,
    "keyed click": 10,
    "short click": 4,
    "mute click": 8,
    "lead": 9,
    "keyless lead": 4,
    "dub lead": 5,
    "sale": 5,
    "code sale": 2,
    "refund": 2,
    "unknown code": 2,
    "batch": 3,
}

#: What may be sent again without becoming another event.
REPEATABLE: Final = frozenset(
    {"keyed click", "lead", "dub lead", "sale", "code sale", "refund", "batch"}
)
#: The most events of a batch.
_MOST: Final = 9
_AGAIN: Final = 0.25
_LONGEST_PAUSE: Final = 2.0
_ADDRESSES: Final = 131_072
_AGENTS: Final = [name for name, is_bot in agents() if not is_bot]
_PAGE: Final = "https://yoursite.com/?storm="

_Document = Mapping[str, Any]
#: A path, headers and a document, if any; a batch has several.
Parts = tuple[str, Mapping[str, str], _Document | Sequence[_Document] | None]


@dataclass(frozen=True, slots=True)
class Event:
    """A request's event, which happens once; a batch is `size` of them.

    `again`: send it once more so many seconds later.
    """

    number: int
    mark: str
    kind: str
    code: str
    again: float | None
    #: Which of the clicks or customers that are known by then it is about.
    choice: float
    size: int = 1

    @property
    def each(self) -> Sequence["Event"]:
        """The events of a batch; else the event itself."""
        if self.kind != "batch":
            return (self,)
        numbers = range(self.number, self.number + self.size)
        return [
            replace(self, number=number, mark=f"{self.mark}.{number - self.number}")
            for number in numbers
        ]


def events(seed: int, count: int, codes: Sequence[str]) -> Iterator[Event]:
    """So many events on these links, those of batches counted one by one."""
    draw = random.Random(seed)  # noqa: S311 -- the same seed, the same storm
    kinds, shares = [*_SHARES], [*_SHARES.values()]
    number = 0
    while number < count:
        (kind,) = draw.choices(kinds, shares)
        size = min(draw.randint(2, _MOST), count - number) if kind == "batch" else 1
        is_again = kind in REPEATABLE and draw.random() < _AGAIN
        yield Event(
            number=number,
            mark=f"{seed}-{number}",
            kind=kind,
            code=draw.choice(codes),
            again=draw.uniform(0, _LONGEST_PAUSE) if is_again else None,
            choice=draw.random(),
            size=size,
        )
        number += size


def request(event: Event, known: str, attempt: int) -> bytes:
    """The whole request of an attempt.

    Leads name a `known` click, sales a customer or nothing, refunds a sale. Repeats differ in what does not make them another event.
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


def _browser_lead(event: Event, click: str) -> dict[str, str]:
    return {
        "click_id": click,
        "customer_key": event.mark,
        "email": f"{event.mark}@example.com",
        "page_url": f"{_PAGE}{event.mark}",
    }


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


def _code_sale(event: Event) -> dict[str, Any]:
    return {
        "ref": event.code,
        "external_id": event.mark,
        "amount": 1 + event.number % 99,
        "url": f"{_PAGE}{event.mark}",
    }


def refund_of(sale: str) -> str:
    """The mark of the refund of a sale: it bears no other."""
    return f"{sale}:refund"


def _batch(event: Event, click: str, attempt: int) -> Sequence[dict[str, Any]]:
    """Clicks, and a lead of a known click at the end."""
    made = [
        {"path": PATH, "body": _click(one), "idempotency_key": one.mark}
        for one in event.each
    ]
    if click:
        lead = _lead(event.each[-1], click, attempt)
        made[-1] = made[-1] | {"path": "/api/track/lead", "body": lead}
    return made


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
    "keyless lead": lambda event, click, _: (
        "/api/v1/track/lead",
        _browser(event),
        _browser_lead(event, click),
    ),
    "dub lead": lambda *which: ("/track/lead", _SERVER, _lead(*which)),
    "sale": lambda *which: ("/track/sale", _SERVER, _sale(*which)),
    "code sale": lambda event, *_: ("/v1/track/sale", _SERVER, _code_sale(event)),
    "refund": lambda _, sale, __: (
        "/v1/track/refund",
        _SERVER,
        {"external_id": sale},
    ),
    "unknown code": lambda event, *_: (
        PATH,
        _browser(event),
        _click(event, "NOBODYS"),
    ),
    "batch": lambda *which: (ROUTE.path, _SERVER, _batch(*which)),
}
