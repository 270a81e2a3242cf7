"""Runs in pairs, and what the pairs say.

A machine is never the same for long, so a figure means something only beside the baseline's
that was taken right after it. What is reported of the ratios is their median, and the least
and the greatest of them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil
from statistics import median
from typing import Any, Final

import click

_RATIO_DIGITS: Final = 3


@dataclass(frozen=True, slots=True)
class Pair:
    """A figure and the baseline's, taken one right after the other."""

    figure: float
    baseline: float

    @property
    def ratio(self) -> float:
        return self.figure / self.baseline


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What was measured. `conditions` are what a reader must know to compare.

    `digits` are those of a figure after the point; `more` stands beside it in the document.
    """

    name: str
    unit: str
    pairs: Sequence[Pair]
    conditions: Mapping[str, object] = field(default_factory=dict)
    digits: int = 0
    more: Mapping[str, object] = field(default_factory=dict)

    @property
    def ratio(self) -> float:
        """The median of the pairs' ratios."""
        return median(pair.ratio for pair in self.pairs)

    def figures(self) -> dict[str, Any]:
        """The medians; `spread` is the least and the greatest ratio of a pair."""
        ratios = [pair.ratio for pair in self.pairs]
        return {
            "figure": self._rounded(median(pair.figure for pair in self.pairs)),
            "baseline": self._rounded(median(pair.baseline for pair in self.pairs)),
            "ratio": round(self.ratio, _RATIO_DIGITS),
            "spread": [round(end(ratios), _RATIO_DIGITS) for end in (min, max)],
        }

    def document(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "unit": self.unit,
            **self.figures(),
            "runs": len(self.pairs),
            "pairs": [
                {
                    "figure": self._rounded(pair.figure),
                    "baseline": self._rounded(pair.baseline),
                    "ratio": round(pair.ratio, _RATIO_DIGITS),
                }
                for pair in self.pairs
            ],
            "conditions": dict(self.conditions),
            **self.more,
        }

    def _rounded(self, figure: float) -> float:
        # Without digits a whole number, which JSON writes without a point.
        return round(figure, self.digits) if self.digits else round(figure)


def tell(sentence: str) -> None:
    """Say how far it is to the person who waits."""
    click.echo(sentence, err=True)


def paired(
    figure: Callable[[], float],
    baseline: Callable[[], float],
    runs: int,
    unit: str = "/s",
) -> list[Pair]:
    """Measure in turn: A B A B …; tells of every pair."""
    pairs: list[Pair] = []
    for number in range(1, runs + 1):
        pair = Pair(figure(), baseline())
        pairs.append(pair)
        tell(
            f"run {number} of {runs}: {pair.figure:,.0f}{unit},"
            f" baseline {pair.baseline:,.0f}{unit}, ratio {pair.ratio:.3f}"
        )
    return pairs


def quantile(values: Sequence[float], share: float) -> float:
    """The least of the values that a share of them does not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, ceil(share * len(ordered)) - 1)]
