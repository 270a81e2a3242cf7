"""What visitors do, made up: the same seed and number of clicks make the same traffic.

Pure; used by `play`. Some links are clicked far more than others. Of all clicks some name
codes that nobody has or that are switched off, some are sent twice under one
`Idempotency-Key`, some are of visitors who come back, some are tests. Leads name clicks, at
once or in a later round; some are reported twice, some by customers known from elsewhere.
"""

from collections.abc import Iterator, Sequence
from ipaddress import ip_address
from itertools import accumulate
from random import Random
from typing import Final

from scripts.demo.agents import addresses, agents
from scripts.demo.people import FIRST_NAMES, LANGUAGES, LAST_NAMES, PAGES, SCREENS
from scripts.demo.steps import Click, Codes, Lead, Purpose, Step, Visit, Visitor

#: Clicks that are made at a time; what is put off happens in the next round.
ROUND: Final = 2_000
#: Leads for each click.
LEADS: Final = 0.05

_UNKNOWN: Final = 0.02
_INACTIVE: Final = 0.01
_TESTS: Final = 0.01
_SENT_TWICE: Final = 0.03
_SAME_LINK_AGAIN: Final = 0.03
_ANOTHER_LINK: Final = 0.03

_BOTS: Final = 0.12
_LEADS_SENT_TWICE: Final = 0.1
_LEADS_PUT_OFF: Final = 0.4
_KNOWN_CUSTOMERS: Final = 0.15
_NO_REFERRER: Final = 0.2

_HOSTS: Final = 254


class Traffic:
    """Makes the rounds of one run."""

    def __init__(self, codes: Codes, clicks: int, seed: int) -> None:
        """`clicks` is how many requests name a code; leads come on top."""
        self._codes = codes
        self._clicks = clicks
        self._random = Random(seed)  # noqa: S311 - nothing here is a secret
        # The n-th link is clicked 1/n as often as the first.
        shares = [1 / place for place in range(1, len(codes.active) + 1)]
        self._popularity = list(accumulate(shares))
        everybody = agents()
        self._people = [text for text, is_bot in everybody if not is_bot]
        self._bots = [text for text, is_bot in everybody if is_bot]
        self._networks = addresses()
        self._later: list[Visit] = []
        self._customers: list[Lead] = []
        self._visitors = self._events = self._known = 0

    def rounds(self) -> Iterator[list[Visit]]:
        """Visits that may happen at once; the next round builds on their answers."""
        for begin in range(0, self._clicks, ROUND):
            yield self._round(min(ROUND, self._clicks - begin))
        if self._later:
            yield self._put_off()

    def _round(self, clicks: int) -> list[Visit]:
        visits = self._put_off()
        strangers = [
            self._visit(purpose)
            for purpose, share in _STRANGERS.items()
            for _ in range(round(clicks * share))
        ]
        again = [
            (extend, round(clicks * share))
            for extend, share in (
                (self._twice, _SENT_TWICE),
                (self._same, _SAME_LINK_AGAIN),
                (self._another, _ANOTHER_LINK),
            )
        ]
        firsts = clicks - len(strangers) - sum(count for _, count in again)
        welcome = [self._visit("link") for _ in range(firsts)]
        for extend, count in again:
            for visit in self._random.sample(welcome, count):
                extend(visit)
        self._report(welcome, round(clicks * LEADS))
        visits += strangers + welcome
        self._random.shuffle(visits)
        return visits

    def _put_off(self) -> list[Visit]:
        visits, self._later = self._later, []
        return visits

    def _visit(self, purpose: Purpose) -> Visit:
        visitor = self._visitor()
        return Visit(visitor, [self._click(visitor, purpose)])

    def _visitor(self) -> Visitor:
        pick = self._random.choice
        is_bot = self._random.random() < _BOTS
        language, timezone = pick(LANGUAGES)
        self._visitors += 1
        return Visitor(
            number=self._visitors,
            ip=self._address(),
            agent=pick(self._bots if is_bot else self._people),
            is_bot=is_bot,
            language=language,
            timezone=timezone,
            screen=pick(SCREENS),
        )

    def _address(self) -> str:
        """Somebody in the network of a known address."""
        known = ip_address(self._random.choice(self._networks))
        return str(known - int(known) % 256 + self._random.randint(1, _HOSTS))

    def _click(self, visitor: Visitor, purpose: Purpose) -> Click:
        pick = self._random.choice
        is_direct = self._random.random() < _NO_REFERRER
        return Click(
            event=self._event(),
            purpose=purpose,
            code=self._code(purpose),
            is_bot=visitor.is_bot,
            page=pick(("/", "/pricing", "/summer", "/features/teams", "/blog/launch")),
            referrer="" if is_direct else pick(PAGES),
            program=pick(self._codes.programs) if purpose == "test" else None,
        )

    def _code(self, purpose: Purpose) -> str:
        if purpose == "unknown":
            return f"nobody-{self._random.randint(1, 20)}"
        if purpose == "inactive":
            return self._random.choice(self._codes.inactive)
        (code,) = self._random.choices(self._codes.active, cum_weights=self._popularity)
        return code

    def _event(self) -> int:
        self._events += 1
        return self._events

    def _twice(self, visit: Visit) -> None:
        visit.steps.insert(1, visit.steps[0])

    def _same(self, visit: Visit) -> None:
        self._return(visit, visit.steps[0])

    def _another(self, visit: Visit) -> None:
        self._return(visit, self._click(visit.visitor, "link"))

    def _return(self, visit: Visit, like: Step) -> None:
        if not isinstance(like, Click):
            raise TypeError("a visit begins with a click")
        visit.steps.append(
            Click(
                event=self._event(),
                purpose="link",
                code=like.code,
                is_bot=like.is_bot,
                page=like.page,
                referrer=like.referrer,
                comes_back=True,
            )
        )

    def _report(self, visits: Sequence[Visit], count: int) -> None:
        """Let so many leads be reported, counting those that are sent twice."""
        people = [visit for visit in visits if not visit.visitor.is_bot]
        twice = round(count * _LEADS_SENT_TWICE)
        chosen = self._random.sample(people, min(count - twice, len(people)))
        for place, visit in enumerate(chosen):
            lead = self._lead()
            leads: list[Step] = [lead, lead] if place < twice else [lead]
            if self._random.random() < _LEADS_PUT_OFF:
                self._later.append(Visit(visit.visitor, leads))
            else:
                visit.steps += leads

    def _lead(self) -> Lead:
        """A new customer's, or another one of a customer who signed up elsewhere."""
        if self._customers and self._random.random() < _KNOWN_CUSTOMERS:
            place = self._random.randrange(len(self._customers))
            known = self._customers.pop(place)
            return Lead(
                event=self._event(),
                customer=known.customer,
                name=known.name,
                email=known.email,
                event_name="Trial Started",
            )
        self._known += 1
        first, last = self._random.choice(FIRST_NAMES), self._random.choice(LAST_NAMES)
        lead = Lead(
            event=self._event(),
            customer=self._known,
            name=f"{first} {last}",
            email=f"{first}.{last}.{self._known}@example.com".lower(),
            event_name="Sign Up",
        )
        self._customers.append(lead)
        return lead


_STRANGERS: Final[dict[Purpose, float]] = {
    "unknown": _UNKNOWN,
    "inactive": _INACTIVE,
    "test": _TESTS,
}
