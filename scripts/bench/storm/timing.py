"""How long answers and records took in the phases of an outage. Used by `outage`."""

import time
from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from typing_extensions import override

from scripts.bench.storm.client import Tally
from scripts.bench.storm.http import Answer
from scripts.bench.storm.judge import Verdict
from scripts.bench.storm.traffic import Event
from scripts.output import facts, table

#: Above them an answer is slow, in seconds: reliability asks for less.
_SLOW_P99: Final = 1.0
_SLOWEST: Final = 2.0
_MS: Final = 1000
_SHOWN: Final = 20


@dataclass(slots=True)
class Timed(Tally):
    """A tally that keeps when each request was sent, and how long its answer took."""

    sent: "array[float]" = field(default_factory=lambda: array("d"))
    took: "array[float]" = field(default_factory=lambda: array("d"))

    @override
    def take(self, edge: int, event: Event, answer: Answer, sent: float) -> None:
        self.sent.append(sent)
        self.took.append(time.monotonic() - sent)
        Tally.take(self, edge, event, answer, sent)

    @property
    def refused(self) -> int:
        return sum(self.answers.values()) - self.accepted - self.unanswered

    @property
    def unanswered(self) -> int:
        return self.answers["none"]

    def line(self) -> str:
        return (
            f"{self.events:,} events, {self.accepted:,} accepted, {self.refused:,}"
            f" refused, {self.unanswered:,} unanswered, slowest {self.slowest:.2f} s"
        )


@dataclass(slots=True)
class Phase:
    """A part of the course, by two clocks: monotonic seconds and Unix milliseconds."""

    began: float
    from_ms: int
    ended: float = 0.0
    to_ms: int = 0

    @property
    def seconds(self) -> float:
        return self.ended - self.began


class Course:
    """The phases in their order. `clock` gives Unix seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.phases: dict[str, Phase] = {}
        self._clock = clock
        self._under_way: Phase | None = None

    def enter(self, name: str) -> None:
        """Begin a phase where the last one ends."""
        self.end()
        self._under_way = Phase(time.monotonic(), self._now_ms())
        self.phases[name] = self._under_way

    def end(self) -> None:
        if self._under_way is not None:
            self._under_way.ended = time.monotonic()
            self._under_way.to_ms = self._now_ms()

    def _now_ms(self) -> int:
        return round(self._clock() * _MS)


@dataclass(frozen=True, slots=True)
class Recorded:
    """From acceptance to the transaction that recorded, of what a phase accepted."""

    events: int
    p50_ms: int | None
    p99_ms: int | None
    max_ms: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """All that is known in the end. `checked` is the report of `verify`."""

    server: str
    rate: float
    tally: Timed
    phases: Mapping[str, Phase]
    recorded: Mapping[str, Recorded]
    backlog: int
    redis_bytes: int
    #: Whether it caught up, in all the time that it was given.
    is_live: bool
    verdict: Verdict
    checked: Mapping[str, Any]

    @property
    def is_fine(self) -> bool:
        noes = self.tally.refused + self.tally.unanswered
        is_recorded = self.is_live and self.verdict.is_fine and self.checked["ok"]
        return not noes and not self.is_slow and is_recorded

    @property
    def is_slow(self) -> bool:
        took = self._took(self.phases["outage"])
        return _at(took, 0.99) > _SLOW_P99 or _at(took, 1.0) > _SLOWEST

    def document(self) -> dict[str, Any]:
        """What `--json` prints."""
        tally, caught_up = self.tally, self.phases["catching up"].seconds
        return {
            "name": "outage",
            "server": self.server,
            "ok": self.is_fine,
            "outage_seconds": round(self.phases["outage"].seconds, 1),
            "rate": self.rate,
            "events": tally.events,
            "accepted": tally.accepted,
            "refused": tally.refused,
            "unanswered": tally.unanswered,
            "backlog": self.backlog,
            "redis_bytes": self.redis_bytes,
            "is_live": self.is_live,
            "drain_seconds": round(caught_up, 1),
            "drained_per_second": round(self.rate + self.backlog / caught_up),
            "lost": len(self.verdict.lost),
            "doubled": len(self.verdict.doubled),
            "astray": len(self.verdict.astray),
            "ledger": self.checked["balance"],
            "mismatches": self.checked["mismatches"],
            "answers": [self._answers(name) for name in self.phases],
            "recorded": [
                {"accepted": name, **asdict(one)} for name, one in self.recorded.items()
            ],
            "surprises": dict(tally.surprises.most_common(_SHOWN)),
        }

    def _answers(self, name: str) -> dict[str, Any]:
        took = self._took(self.phases[name])
        return {
            "sent": name,
            "requests": len(took),
            "p50_ms": round(_at(took, 0.5) * _MS, 1),
            "p99_ms": round(_at(took, 0.99) * _MS, 1),
            "max_ms": round(_at(took, 1.0) * _MS, 1),
        }

    def _took(self, phase: Phase) -> list[float]:
        """The seconds that answers took to what was sent in a phase, the least first."""
        pairs = zip(self.tally.sent, self.tally.took, strict=True)
        return sorted(took for sent, took in pairs if phase.began <= sent < phase.ended)


def show(document: Mapping[str, Any]) -> None:
    """The tables."""
    each = ("requests", "p50_ms", "p99_ms", "max_ms")
    table(document["answers"], ("sent", *each), "Answers to clients")
    waited = ("accepted", "events", "p50_ms", "p99_ms", "max_ms")
    table(document["recorded"], waited, "From acceptance to the record")
    names = (
        "server", "outage_seconds", "rate", "events", "accepted", "refused", "unanswered",
        "backlog", "redis_bytes", "is_live", "drain_seconds", "drained_per_second", "lost",
        "doubled", "astray", "ledger",
    )  # fmt: skip
    facts({name: document[name] for name in names}, "PostgreSQL away")
    if document["mismatches"]:
        of = ("what", "key", "counter", "expected", "found")
        table(document["mismatches"], of, "Counters that are not their rows")


def _at(ordered: Sequence[float], part: float) -> float:
    """The value below which so much lies; 0 where there is none."""
    if not ordered:
        return 0.0
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]
