"""What came of a storm, as a document, and as people read it."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from scripts.bench.environment.runs import quantile
from scripts.bench.storm.client import Tally
from scripts.bench.storm.faults import LOSSES, InjectedFault
from scripts.bench.storm.judge import Verdict
from scripts.output import facts, table
from scripts.services.observe.ledger import LedgerView

_SHOWN: Final = 20
#: What people read of the document, beside its figures.
_TABLES: Final = {
    "by_kind": "Faults, and seconds until both edges took events",
    "mismatches": "Counters that are not their rows",
}
_COUNTS: Final = {
    "answers": "Answers",
    "quarantine": "In quarantine",
    "surprises": "Answers that no fault explains",
}


class Findings(NamedTuple):
    """What was found out; `checked` is the report of `verify`."""

    verdict: Verdict
    checked: Mapping[str, Any]
    ledger: LedgerView
    #: How many events are lost at most, as the ledger says; None: nobody knows.
    most: int | None
    injected: Sequence[InjectedFault]

    @property
    def is_settled(self) -> bool:
        return bool(self.checked["settled"]) and not self.ledger.spooled

    @property
    def mismatches(self) -> Sequence[Mapping[str, Any]]:
        """Of `verify`, but that something was lost where that was meant."""
        is_meant = any(one.fault.kind in LOSSES for one in self.injected)
        return [
            row
            for row in self.checked["mismatches"]
            if not (is_meant and row["what"] == "lost")
        ]

    def document(self, tally: Tally) -> dict[str, Any]:
        survived = [
            self.is_settled and (one.back is not None or one.is_late)
            for one in self.injected
        ]
        verdict, ledger = self.verdict, self.ledger
        is_right = verdict.is_fine and verdict.agrees(ledger.lost, self.most)
        return {
            "ok": is_right and self.is_settled and not self.mismatches,
            "events": len(tally.histories),
            "faults": len(survived),
            "survived": sum(survived),
            **_judged(verdict),
            "gone": verdict.gone,
            "ledger_lost": [ledger.lost, self.most],
            "ledger": self.checked["balance"],
            "settled": self.is_settled,
            "mismatches": self.mismatches,
            "in_flight": self.checked["in_flight"],
            "spooled": ledger.spooled,
            "vanished": ledger.lost,
            **_answers(tally),
            "accepted_part": round(verdict.accepted / max(1, len(tally.histories)), 3),
            "by_kind": _by_kind(self.injected, survived),
        }


def _judged(verdict: Verdict) -> dict[str, Any]:
    marks = {
        name: getattr(verdict, name)
        for name in ("lost", "unexplained", "doubled", "astray")
    }
    return {
        **{name: len(found) for name, found in marks.items()},
        "quarantined": sum(verdict.quarantined.values()),
        "quarantine": dict(verdict.quarantined),
        "accepted": verdict.accepted,
        "recorded": verdict.recorded,
        "accepted_again": verdict.again,
        "unplaced": verdict.unplaced,
        **{f"{name}_marks": found[:_SHOWN] for name, found in marks.items()},
    }


def _answers(tally: Tally) -> dict[str, Any]:
    """What the edges answered, and after how many seconds."""
    took = tally.took or [0.0]
    return {
        "answers": dict(sorted(tally.answers.items())),
        "surprises": dict(tally.surprises.most_common(_SHOWN)),
        "longest_unavailable": round(tally.longest_gap, 2),
        "p50_answer": round(quantile(took, 0.5), 3),
        "p99_answer": round(quantile(took, 0.99), 3),
        "slowest_answer": round(max(took), 2),
    }


def _by_kind(
    injected: Sequence[InjectedFault], survived: Sequence[bool]
) -> list[dict[str, Any]]:
    """Faults by what they are and whom they met."""
    kinds: dict[tuple[str, str], list[tuple[bool, float]]] = {}
    for one, is_survived in zip(injected, survived, strict=True):
        whom = one.fault.target.partition(":")[0].rstrip(" 0123456789")
        back = round(one.back or 0.0, 2)
        kinds.setdefault((one.fault.kind, whom), []).append((is_survived, back))
    return [
        {
            "fault": kind,
            "of": whom,
            "times": len(found),
            "survived": sum(is_survived for is_survived, _ in found),
            "longest_back": max(back for _, back in found),
        }
        for (kind, whom), found in sorted(kinds.items())
    ]


def show(document: Mapping[str, Any]) -> None:
    for name, title in _TABLES.items():
        if rows := document[name]:
            table(rows, list(rows[0]), title)
    for name, title in _COUNTS.items():
        if document[name]:
            facts(document[name], title)
    shown = {
        name: value
        for name, value in document.items()
        if name not in {*_TABLES, *_COUNTS}
    }
    facts(shown, f"Seed {document['seed']}")
