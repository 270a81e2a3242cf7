"""What was sent and what was answered, and what must therefore be recorded.

Pure; filled by `sending`, read by `view` and `findings`. A request without an answer, or with
one that says 5xx, may or may not have become an event: it widens what may be found, and
never what must be.
"""

from collections import Counter
from typing import Final, NamedTuple

from scripts.demo.steps import Click, Lead, Step


class Fact(NamedTuple):
    """Something that is counted at both ends."""

    what: str
    key: str


CLICKS: Final = Fact("recorded", "clicks")
BOTS: Final = Fact("recorded", "clicks of bots")
TESTS: Final = Fact("recorded", "test clicks")
LEADS: Final = Fact("recorded", "leads")
REPEATS: Final = Fact("recorded", "repeats")
QUARANTINED: Final = Fact("quarantined", "events")
COUNTED_LEADS: Final = Fact("counter", "leads of all links")

#: Facts of which there must be as many as expected, none included.
ALWAYS: Final = (CLICKS, BOTS, TESTS, LEADS, REPEATS, QUARANTINED, COUNTED_LEADS)


def clicks_of(code: str) -> Fact:
    return Fact("counter", f"clicks of {code}")


def bots_of(code: str) -> Fact:
    return Fact("counter", f"bot clicks of {code}")


def facts(step: Step) -> tuple[Fact, ...]:
    """What becomes true when a step is taken as an event for the first time."""
    match step:
        case Lead():
            return (LEADS, COUNTED_LEADS)
        case Click(purpose="test"):
            return (TESTS,)
        case Click(purpose="link", code=code, is_bot=is_bot):
            of_bots = (BOTS, bots_of(code)) if is_bot else ()
            return (CLICKS, clicks_of(code), *of_bots)
        case Click():
            # Without a directory an edge takes every code; a worker finds out.
            return (QUARANTINED,)


class Tally:
    """The figures of a run; all are counts of requests unless they say otherwise."""

    def __init__(self) -> None:
        self.sent: Counter[str] = Counter()
        self.accepted = 0
        self.refused: Counter[str] = Counter()
        self.unanswered: Counter[str] = Counter()
        #: Leads that had no click id to name, since their click was not answered.
        self.skipped = 0
        self._expected: Counter[Fact] = Counter()
        self._taken: set[int] = set()
        self._doubtful: dict[int, Step] = {}
        self._doubts = 0

    @property
    def events(self) -> int:
        """Events that were accepted, each once."""
        return len(self._taken)

    @property
    def uncertain(self) -> int:
        """Requests without a clear answer."""
        return self._doubts

    def send(self, step: Step) -> None:
        self.sent[_kind(step)] += 1

    def accept(self, step: Step) -> None:
        self.accepted += 1
        if step.event in self._taken:
            self._expected[REPEATS] += 1
        else:
            self._taken.add(step.event)
            self._expected.update(facts(step))

    def refuse(self, step: Step, reason: str, *, is_certain: bool) -> None:
        self.refused[reason] += 1
        if not is_certain:
            self._doubt(step)

    def lose(self, step: Step, reason: str) -> None:
        self.unanswered[reason] += 1
        self._doubt(step)

    def expected(self) -> Counter[Fact]:
        """What must be found."""
        return self._expected.copy()

    def doubtful(self) -> Counter[Fact]:
        """How much more than that may be found."""
        more: Counter[Fact] = Counter({REPEATS: self._doubts})
        for event, step in self._doubtful.items():
            if event not in self._taken:
                more.update(facts(step))
        return more

    def _doubt(self, step: Step) -> None:
        self._doubts += 1
        self._doubtful[step.event] = step


def _kind(step: Step) -> str:
    return "leads" if isinstance(step, Lead) else "clicks"
