"""`reftide bench targets`: what was measured beside what it has to be, as one table.

Pure: takes the documents that the measurements printed, in any order. The bounds are those
that the project set itself before it was made fast; they are ratios to a baseline of the
same run, but for the latency, which is in milliseconds.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

_Document = Mapping[str, Any]

_NOT_YET: Final = "not measured"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A row: what it is about, the document it is in, and its bound.

    `is_least`: the bound is the least that will do, else the most. `is_ratio`: what is
    bound is the ratio, else the figure itself.
    """

    what: str
    name: str
    bound: float
    conditions: Mapping[str, object]
    is_least: bool = True
    is_ratio: bool = True

    def is_of(self, document: _Document) -> bool:
        given = document.get("conditions", {})
        return document.get("name") == self.name and all(
            given.get(key) == value for key, value in self.conditions.items()
        )

    def row(self, document: _Document | None) -> dict[str, object]:
        """The row of the table; `met` is None where there is no document."""
        bound = f"{'≥' if self.is_least else '≤'} {self.bound:g}"
        row: dict[str, object] = {"what": self.what, "bound": bound}
        if document is None:
            return row | dict.fromkeys(_MEASURED, None) | {"measured": _NOT_YET}
        value: float = document["ratio" if self.is_ratio else "figure"]
        least, most = document["spread"] if self.is_ratio else _ends(document)
        return row | {
            "measured": value,
            "spread": f"{least:g} to {most:g}",
            "runs": document["runs"],
            "figure": document["figure"],
            "baseline": document["baseline"],
            "unit": document["unit"],
            "met": value >= self.bound if self.is_least else value <= self.bound,
        }


_MEASURED: Final = ("measured", "spread", "runs", "figure", "baseline", "unit", "met")
COLUMNS: Final = ("what", "bound", *_MEASURED)


TARGETS: Final = (
    Target(
        what="edge process ÷ bare aiohttp",
        name="edge",
        bound=0.70,
        conditions={"appendfsync": "everysec"},
    ),
    Target(
        what="the same with appendfsync always",
        name="edge",
        bound=0.60,
        conditions={"appendfsync": "always"},
    ),
    Target(
        what="worker process ÷ COPY of the same rows",
        name="worker",
        bound=0.50,
        conditions={},
    ),
    Target(
        what="end to end ÷ FastAPI and asyncpg",
        name="pipeline",
        bound=6,
        conditions={"rival": "fastapi", "events_per_request": 1},
    ),
    Target(
        what="end to end ÷ an arq job per event",
        name="pipeline",
        bound=40,
        conditions={"rival": "arq", "events_per_request": 1},
    ),
    Target(
        what="end to end in batches of 100 ÷ FastAPI and asyncpg",
        name="pipeline",
        bound=15,
        conditions={"rival": "fastapi", "events_per_request": 100},
    ),
    Target(
        what="one link ÷ a thousand links, four workers",
        name="hot-link",
        bound=0.85,
        conditions={"workers": 4},
    ),
    Target(
        what="accepted → recorded, p99 in ms at half of saturation",
        name="latency",
        bound=250,
        conditions={"share": 0.5},
        is_least=False,
        is_ratio=False,
    ),
    Target(
        what="beside 20 M recorded events ÷ beside 1 M",
        name="growth",
        bound=0.90,
        conditions={"fewest": 1_000_000, "most": 20_000_000},
    ),
    Target(
        what="bytes in the stream ÷ JSON body and User-Agent",
        name="cost",
        bound=1.2,
        conditions={},
        is_least=False,
    ),
)


def rows(documents: Iterable[_Document]) -> list[dict[str, object]]:
    """A row for every target; of several documents of one, the last counts."""
    given = list(documents)
    return [
        target.row(next((each for each in reversed(given) if target.is_of(each)), None))
        for target in TARGETS
    ]


def markdown(listed: Sequence[Mapping[str, object]]) -> str:
    """The table for docs/performance.md."""
    lines = [
        "| what | bound | measured | spread | runs | figure | baseline | |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in listed:
        unit = row["unit"] or ""
        figures = [_cell(row[name], unit) for name in ("figure", "baseline")]
        met = {True: "met", False: "**missed**", None: ""}[_truth(row["met"])]
        cells = [row["what"], row["bound"], row["measured"], row["spread"], row["runs"]]
        texts = ["" if cell is None else str(cell) for cell in cells]
        lines.append(f"| {' | '.join([*texts, *figures, met])} |")
    return "\n".join([*lines, ""])


def _truth(value: object) -> bool | None:
    return value if isinstance(value, bool) else None


def _cell(value: object, unit: object) -> str:
    return f"{value:,} {unit}" if isinstance(value, (int, float)) else ""


def _ends(document: _Document) -> tuple[float, float]:
    figures = [pair["figure"] for pair in document["pairs"]]
    return min(figures), max(figures)
