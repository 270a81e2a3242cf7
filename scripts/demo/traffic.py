"""Clicks and leads, made up: the same seed and number make the same traffic."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from random import Random
from typing import Any, Final

from scripts.demo.agents import addresses, agents

#: The key of the demo workspace that Refport's page shows.
API_KEY: Final = "YOUR_API_KEY"
#: Under this name every event of a run carries the run's name.
MARK: Final = "demo"
CLICK: Final = "/api/v1/track/click"
LEAD: Final = "/api/track/lead"
#: One click in so many is followed by a lead, and one is sent twice.
LEAD_EVERY: Final = 20
_TWICE_EVERY: Final = 33

_SITE: Final = "https://shop.example.com"
_PAGES: Final = ("/", "/pricing", "/summer", "/features/teams", "/blog/launch")
_BOTS: Final = 0.12
_REFERRERS: Final = (
    "",
    "https://www.google.com/",
    "https://duckduckgo.com/",
    "https://t.co/kQ2mVn7yXb",
    "https://www.reddit.com/r/productivity/comments/1b2c3d4/what_do_you_use/",
    "https://news.ycombinator.com/item?id=40123456",
    "https://www.youtube.com/watch?v=Jk3lQ9xZtuo",
    "https://l.instagram.com/",
    "https://www.linkedin.com/feed/",
    "https://newsletter.example.net/issues/42",
)


@dataclass(frozen=True, slots=True)
class DemoClick:
    """A click to send; `times` is 2 where it is sent again under one Idempotency-Key."""

    number: int
    headers: Mapping[str, str]
    body: Mapping[str, Any]
    times: int
    has_lead: bool


def clicks(
    run: str, codes: Sequence[str], count: int, seed: int
) -> Iterator[DemoClick]:
    """So many clicks of a run; the n-th code is clicked 1/n as often as the first."""
    draw = Random(seed)  # noqa: S311 -- nothing here is a secret
    everybody, networks = agents(), addresses()
    people = [text for text, is_bot in everybody if not is_bot]
    bots = [text for text, is_bot in everybody if is_bot]
    popularity = list(accumulate(1 / place for place in range(1, len(codes) + 1)))
    for number in range(1, count + 1):
        has_lead = number % LEAD_EVERY == 0
        is_bot = not has_lead and draw.random() < _BOTS
        (code,) = draw.choices(codes, cum_weights=popularity)
        page = draw.choice(_PAGES)
        is_twice = number % _TWICE_EVERY == 0
        key = {"Idempotency-Key": f"{run}-{number}"} if is_twice else {}
        yield DemoClick(
            number=number,
            headers={
                "Content-Type": "application/json",
                "User-Agent": draw.choice(bots if is_bot else people),
                "X-Forwarded-For": draw.choice(networks),
                **key,
            },
            body={
                "affiliate_url": f"{_SITE}{page}?aff={code}",
                "page_url": f"{_SITE}{page}",
                "page_title": "Shop",
                "referrer_url": draw.choice(_REFERRERS),
                "session_id": f"{run}-{number}",
                "additional_data": {MARK: run},
            },
            times=1 + is_twice,
            has_lead=has_lead,
        )


def lead(run: str, click: DemoClick, click_id: str) -> Mapping[str, Any]:
    """The body of the lead that follows a click, as a shop's server reports it."""
    customer = f"{run}-{click.number}"
    return {
        "clickId": click_id,
        "eventName": "Sign Up",
        "customerExternalId": customer,
        "customerEmail": f"{customer}@example.com",
        "customerName": f"Customer {click.number}",
        "metadata": {"plan": "free", MARK: run},
    }
