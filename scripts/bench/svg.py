"""Curves as SVG: a few lines over one axis, to be looked at in a browser or a document.

Used by the measurements that draw. Its colours are told apart by people who see few of
them, and lines end in their names, so that the colours are not needed.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from math import ceil, floor, log10
from typing import Final

_WIDTH: Final = 760
_HEIGHT: Final = 436
_LEFT: Final = 80
_RIGHT: Final = 170
_TOP: Final = 64
_BOTTOM: Final = 60
#: From the palette of Okabe and Ito, which is made for all kinds of colour vision.
_COLOURS: Final = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")
_TICKS: Final = 5
#: Names at the ends of lines are at least so far apart.
_LINE: Final = 15
_THOUSAND: Final = 1000
_STYLE: Final = (
    "text{font:13px sans-serif;fill:#333}.title{font-size:16px;font-weight:bold}"
    ".grid{stroke:#ddd}.line{fill:none;stroke-width:2}"
)


@dataclass(frozen=True, slots=True)
class Series:
    """A line by its points, from left to right."""

    name: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Axes:
    """What the picture and its axes are called; x can be logarithmic, y begins at 0."""

    title: str
    x: str
    y: str
    is_logarithmic: bool = False


def line_chart(axes: Axes, lines: Sequence[Series]) -> str:
    """An SVG document. Every line has a point at least; logarithms want x above 0."""
    frame = _Frame.around(axes, [point for line in lines for point in line.points])
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}"'
        f' role="img" aria-label="{escape(axes.title)}">'
    )
    parts = [
        head,
        f"<style>{_STYLE}</style>",
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#fff"/>',
        _text(_LEFT, 24, axes.title, "start", "title"),
        _text((_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 16, axes.x),
        _text(_LEFT - 60, _TOP - 12, axes.y, "start"),
        *frame.grid(sorted({x for line in lines for x, _ in line.points})),
    ]
    for number, line in enumerate(lines):
        parts += frame.line(line, _COLOURS[number % len(_COLOURS)])
    parts += frame.names(lines)
    return "\n".join([*parts, "</svg>\n"])


def steps(top: float, count: int = _TICKS) -> list[float]:
    """Round numbers from 0 to `top` or a little above, about so many."""
    if top <= 0:
        return [0.0, 1.0]
    rough = top / count
    power = 10.0 ** floor(log10(rough))
    step = next(size * power for size in (1, 2, 2.5, 5, 10) if size * power >= rough)
    return [step * number for number in range(ceil(top / step - 1e-9) + 1)]


def short(value: float) -> str:
    """A number as an axis shows it: 950, 12.5k, 20M."""
    for unit in ("", "k", "M"):
        if value < _THOUSAND:
            return f"{value:.3g}{unit}"
        value /= _THOUSAND
    return f"{value:.3g}G"


@dataclass(frozen=True, slots=True)
class _Frame:
    """From values to places on the picture."""

    low: float
    high: float
    ticks: Sequence[float]
    is_logarithmic: bool

    @classmethod
    def around(cls, axes: Axes, points: Sequence[tuple[float, float]]) -> "_Frame":
        places = [x for x, _ in points]
        low = min(places) if axes.is_logarithmic else min(0.0, *places)
        ticks = steps(max(y for _, y in points))
        return cls(low, max(places), ticks, axes.is_logarithmic)

    def place(self, x: float, y: float) -> tuple[float, float]:
        low, high = self._scaled(self.low), self._scaled(self.high)
        share = (self._scaled(x) - low) / (high - low) if high > low else 0.5
        across = _LEFT + share * (_WIDTH - _LEFT - _RIGHT)
        up = y / self.ticks[-1] * (_HEIGHT - _TOP - _BOTTOM)
        return round(across, 1), round(_HEIGHT - _BOTTOM - up, 1)

    def grid(self, marks: Sequence[float]) -> Iterator[str]:
        """Lines across at round numbers; marks below where there are points."""
        right = _WIDTH - _RIGHT
        for value in self.ticks:
            _, y = self.place(self.low, value)
            yield f'<line class="grid" x1="{_LEFT}" x2="{right}" y1="{y}" y2="{y}"/>'
            yield _text(_LEFT - 8, y + 4, short(value), "end")
        for mark in marks:
            x, y = self.place(mark, 0)
            yield f'<line class="grid" x1="{x}" x2="{x}" y1="{y}" y2="{y + 5}"/>'
            yield _text(x, y + 20, short(mark))

    def line(self, line: Series, colour: str) -> Iterator[str]:
        places = [self.place(x, y) for x, y in line.points]
        path = " ".join(f"{x},{y}" for x, y in places)
        yield f'<polyline class="line" stroke="{colour}" points="{path}"/>'
        for x, y in places:
            yield f'<circle cx="{x}" cy="{y}" r="3" fill="{colour}"/>'

    def names(self, lines: Sequence[Series]) -> Iterator[str]:
        """At the end of each line, none over another."""
        ends = [(self.place(*line.points[-1]), line.name) for line in lines]
        lowest = float("-inf")
        for (x, y), name in sorted(ends, key=lambda end: end[0][1]):
            lowest = max(y, lowest + _LINE)
            yield _text(x + 10, lowest + 4, name, "start")

    def _scaled(self, x: float) -> float:
        return log10(x) if self.is_logarithmic else x


def _text(x: float, y: float, text: str, anchor: str = "middle", kind: str = "") -> str:
    style = f' class="{kind}"' if kind else ""
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}"{style}>{escape(text)}</text>'
