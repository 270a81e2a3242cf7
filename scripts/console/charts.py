"""Lines of the last hour or of days as SVG paths, and the same figures as rows of a table. Pure."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final, NamedTuple

from scripts.console.sampler import Point, rate

WIDTH: Final = 600
HEIGHT: Final = 120
_SPAN_SECONDS: Final = 3600
_STEP_SECONDS: Final = 30
_STEPS: Final = _SPAN_SECONDS // _STEP_SECONDS
#: Steps in a row of the table.
_ROW_STEPS: Final = 10

Value = float | None
#: A series: from the points of one step to a value.
Reading = Callable[[Sequence[Point]], Value]


class Line(NamedTuple):
    """A series: what it is called, and its path."""

    name: str
    path: str


class Chart(NamedTuple):
    """Values of a time until now; `most` is the value at the top."""

    lines: list[Line]
    most: float
    #: By time, the latest first: a value for each line.
    rows: list[tuple[datetime, list[Value]]]


def lag_chart(points: Sequence[Point], now: float) -> Chart:
    """The largest lag of each shard, in seconds."""
    shards = max((len(each.lags) for each in points if each.lags), default=0)
    readings = {f"shard {shard}": _largest_lag(shard) for shard in range(shards)}
    return _chart(points, now, readings)


def rate_chart(points: Sequence[Point], now: float) -> Chart:
    """Events accepted and recorded a second."""
    names = ("accepted", "recorded")
    return _chart(points, now, {name: _rate(name) for name in names})


def days_chart(
    days: Sequence[Mapping[str, Any]], names: Sequence[str], first: date, count: int
) -> Chart:
    """Figures of so many days from the first one on: a day that has none is zero."""
    known = {each["key"]: each for each in days}
    asked = [first + timedelta(days=day) for day in range(count)]
    series = [
        [known[day][name] if day in known else 0 for day in asked] for name in names
    ]
    most = float(max(map(max, series), default=0))
    lines = [
        Line(name.replace("_", " "), _path(values, most))
        for name, values in zip(names, series, strict=True)
    ]
    rows = [
        (datetime(day.year, day.month, day.day, tzinfo=UTC), [*values])
        for day, *values in zip(asked, *series, strict=True)
        if any(values)
    ]
    return Chart(lines, most, rows[::-1])


def _chart(points: Sequence[Point], now: float, readings: dict[str, Reading]) -> Chart:
    begin = now - _SPAN_SECONDS
    steps: list[list[Point]] = [[] for _ in range(_STEPS)]
    for point in points:
        step = int((point.at - begin) // _STEP_SECONDS)
        if 0 <= step < _STEPS:
            steps[step].append(point)
    series = {name: [read(each) for each in steps] for name, read in readings.items()}
    known = [
        value for values in series.values() for value in values if value is not None
    ]
    most = max(known, default=0.0)
    return Chart(
        [Line(name, _path(values, most)) for name, values in series.items()],
        most,
        _rows(list(series.values()), begin),
    )


def _path(values: Sequence[Value], most: float) -> str:
    """Straight lines between neighbours that are known."""
    found, is_drawing = [], False
    for step, value in enumerate(values):
        if value is not None:
            x = (step + 1) * WIDTH / len(values)
            y = HEIGHT - (value / most if most else 0.0) * (HEIGHT - 2) - 1
            found.append(f"{'L' if is_drawing else 'M'}{x:.0f} {y:.1f}")
        is_drawing = value is not None
    return "".join(found)


def _rows(
    series: Sequence[Sequence[Value]], begin: float
) -> list[tuple[datetime, list[Value]]]:
    """The largest value of every five minutes that has one."""
    found = []
    for first in range(0, _STEPS, _ROW_STEPS):
        parts = [values[first : first + _ROW_STEPS] for values in series]
        largest = [
            max((each for each in part if each is not None), default=None)
            for part in parts
        ]
        if any(each is not None for each in largest):
            at = datetime.fromtimestamp(begin + first * _STEP_SECONDS, UTC)
            found.append((at, largest))
    return found[::-1]


def _largest_lag(shard: int) -> Reading:
    def read(points: Sequence[Point]) -> Value:
        lags = [
            each.lags[shard] for each in points if each.lags and shard < len(each.lags)
        ]
        return max(lags, default=None)

    return read


def _rate(name: str) -> Reading:
    def read(points: Sequence[Point]) -> Value:
        return rate(points, name)

    return read
