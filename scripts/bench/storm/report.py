"""What a storm came to: one document, and the tables that people read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from scripts.bench.storm.client import Tally
from scripts.bench.storm.fault_injector import InjectedFault
from scripts.bench.storm.judge import Verdict
from scripts.output import facts, table

_SHOWN: Final = 20
_DIGITS: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """All that is known when a storm is over. `checked` is the report of `verify`."""

    seed: int
    server: str
    tally: Tally
    injected: Sequence[InjectedFault]
    verdict: Verdict
    checked: Mapping[str, Any]
    spooled: int
    #: Entries that workers found gone from a stream.
    vanished: int
    deaths: Sequence[str]
    seconds: float
    settling: float

    @property
    def is_settled(self) -> bool:
        return bool(self.checked["settled"]) and not self.spooled

    @property
    def is_fine(self) -> bool:
        is_balanced = self.is_settled and self.checked["ok"]
        return self.verdict.is_fine and is_balanced and not self.vanished

    def survived(self, injected: InjectedFault) -> bool:
        """Whether the edges came back, and all that was under way was settled."""
        return self.is_settled and (injected.back is not None or injected.is_late)

    def document(self) -> dict[str, Any]:
        verdict, tally = self.verdict, self.tally
        return {
            "seed": self.seed,
            "server": self.server,
            "ok": self.is_fine,
            "events": tally.events,
            "faults": len(self.injected),
            "survived": sum(map(self.survived, self.injected)),
            "lost": len(verdict.lost),
            "doubled": len(verdict.doubled),
            "astray": len(verdict.astray),
            "quarantined": sum(verdict.quarantined.values()),
            "ledger": self.checked["balance"],
            "settled": self.is_settled,
            "mismatches": self.checked["mismatches"],
            "in_flight": self.checked["in_flight"],
            "spooled": self.spooled,
            "vanished": self.vanished,
            "accepted": verdict.accepted,
            "recorded": verdict.recorded,
            "accepted_again": verdict.again,
            "unplaced": verdict.unplaced,
            "answers": dict(sorted(tally.answers.items())),
            "surprises": dict(tally.surprises.most_common(_SHOWN)),
            "quarantine": dict(verdict.quarantined),
            "longest_unavailable": round(tally.longest_gap, _DIGITS),
            "slowest_answer": round(tally.slowest, _DIGITS),
            "seconds": round(self.seconds, 1),
            "settling_seconds": round(self.settling, 1),
            "deaths": list(self.deaths),
            "lost_marks": verdict.lost[:_SHOWN],
            "doubled_marks": verdict.doubled[:_SHOWN],
            "astray_marks": verdict.astray[:_SHOWN],
            "by_kind": self.by_kind(),
        }

    def by_kind(self) -> list[dict[str, Any]]:
        """Faults by what they are and whom they met."""
        kinds: dict[tuple[str, str], list[InjectedFault]] = {}
        for each in self.injected:
            whom = each.fault.target.partition(":")[0].rstrip(" 0123456789")
            kinds.setdefault((each.fault.kind, whom), []).append(each)
        return [
            {
                "fault": kind,
                "of": whom,
                "times": len(found),
                "survived": sum(map(self.survived, found)),
                "longest_back": max(round(one.back or 0.0, _DIGITS) for one in found),
            }
            for (kind, whom), found in sorted(kinds.items())
        ]


def show(document: Mapping[str, Any]) -> None:
    """The tables."""
    columns = ("fault", "of", "times", "survived", "longest_back")
    table(
        document["by_kind"], columns, "Faults, and seconds until both edges took events"
    )
    answers = [
        {"answer": status, "requests": count}
        for status, count in document["answers"].items()
    ]
    table(answers, ("answer", "requests"), "Answers")
    names = (
        "server", "events", "accepted", "recorded", "accepted_again", "unplaced", "quarantined",
        "quarantine", "spooled", "in_flight", "vanished", "lost", "doubled", "astray", "ledger",
        "settled", "longest_unavailable", "slowest_answer", "seconds",
        "settling_seconds", "deaths", "lost_marks", "doubled_marks", "astray_marks",
    )  # fmt: skip
    reasons = [f"{count} {why}" for why, count in document["quarantine"].items()]
    shown = {name: document[name] for name in names} | {"quarantine": reasons}
    facts(shown, f"Seed {document['seed']}")
    if document["mismatches"]:
        of = ("what", "key", "counter", "expected", "found")
        table(document["mismatches"], of, "Counters that are not their rows")
    if document["surprises"]:
        surprises = [
            {"answer": answer, "times": times}
            for answer, times in document["surprises"].items()
        ]
        table(surprises, ("answer", "times"), "Answers that no fault explains")
