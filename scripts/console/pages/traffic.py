"""What links brought: clicks, leads and sales of some days, beside the days before."""

from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import date, timedelta
from typing import Any, Final, NamedTuple
from urllib.parse import urlencode
from uuid import UUID

import asyncpg

from scripts.console.pages.choosing import now_of, said_of, usage, workspace_of
from scripts.console.protection import missing
from scripts.console.rendering import BASE
from scripts.console.serving import Asked, Download, Page
from scripts.errors import UsageProblem
from scripts.output import csv_text
from scripts.servers import Connection, rows
from scripts.services.administer.access.workspaces import visible
from scripts.services.find.stats import KEYS, SIDES, ids_of, lead_times, summing
from scripts.services.noun import Row
from workers.counters.rule import NAMES
from workers.facets.facets import FACETS

#: Days until and with today, and what they are called.
_PERIODS: Final = {1: "Today", 7: "7 days", 30: "30 days", 90: "90 days"}
_DEFAULT_DAYS: Final = 7
_MOST_DAYS: Final = 400
_LISTED: Final = 20
_DOWNLOADED: Final = 100_000
#: Rows that are read at once.
_PART: Final = 1000
_COLUMNS: Final = ("key", "id", "workspace", *NAMES, "amounts")
_FILTERS: Final = (*SIDES, *FACETS)
#: How a facet that nobody knows is written.
_UNKNOWN: Final = "unknown"


class _Choice(NamedTuple):
    """What figures are about: by what, whose, of which ids and values of facets."""

    by: str
    owner: UUID | None
    only: Mapping[str, Any]


async def _read(asked: Asked) -> Mapping[str, Any]:
    query = asked.request.query
    first, end = _span(asked)
    said = said_of(query, _FILTERS)
    async with asked.console.figures.connection() as connection:
        known = await visible(connection, asked.user.workspaces)
        name = workspace_of(asked, known)
        choice = await _choice(asked, connection, known)
        most = (end - first).days if choice.by == "day" else _LISTED
        found = await _sums(connection, choice, (first, end), most)
        before, by_day = (first - (end - first), first), choice._replace(by="day")
        former = await _sums(connection, by_day, before, 1)
        times = None
        if "times" in query:
            owner, only = choice.owner, choice.only
            with _narrowing():
                times = await lead_times(connection, owner, (first, end), only)
    total, by = found[-1], choice.by
    period = said_of(query, ("days", "since", "until", "workspace"))

    def address(page: str = "traffic", **more: Any) -> str:
        """The same page, but for something."""
        asked_for = {**period, "by": by, **said, **more}
        given = {key: text for key, text in asked_for.items() if text is not None}
        return f"{BASE}/{page}?{urlencode(given)}"

    return {
        "by": by,
        "next_by": "country" if by == "link" else "link",
        "days": (end - first).days if "since" not in period else None,
        "keys": KEYS,
        "said": said,
        "period": period,
        "address": address,
        "periods": _PERIODS,
        "workspace": name,
        "workspaces": [*known],
        "first": first,
        "last": end - timedelta(days=1),
        "rows": [_shown(row, total) for row in found if not row["is_total"]],
        "funnel": _funnel(total, former[-1]),
        "total": _shown(total, total),
        "times": times,
        "most": _DOWNLOADED,
    }


async def _choice(
    asked: Asked, connection: Connection, known: Mapping[str, UUID]
) -> _Choice:
    """Raises Refused for what is not there, or not theirs to see."""
    query, said = asked.request.query, said_of(asked.request.query, _FILTERS)
    by, owner = query.get("by", "link"), known.get(workspace_of(asked, known) or "")
    ids = await ids_of(connection, said, owner)
    if by not in KEYS or ids is None:
        raise missing()
    facets = {
        name: "" if text == _UNKNOWN else text
        for name, text in said.items()
        if name in FACETS
    }
    sides = {side: ids[side] for side in SIDES if side in said}
    return _Choice(by, owner, sides | facets)


async def _read_all(asked: Asked) -> AsyncGenerator[str]:
    """What the page shows, and all that it leaves out.

    It is read at once and waits here as text: no connection waits until it is taken.
    """
    texts, days = list[str](), _span(asked)
    async with asked.console.figures.connection() as connection:
        known = await visible(connection, asked.user.workspaces)
        choice = await _choice(asked, connection, known)
        async with _summing(connection, choice, days, _DOWNLOADED) as (
            statement,
            given,
        ):
            cursor = await connection.cursor(statement, *given)
            while found := await cursor.fetch(_PART):
                rows_of_keys = [dict(row) for row in found if not row["is_total"]]
                texts.append(csv_text(rows_of_keys, _COLUMNS))
    for text in texts:
        yield text


async def _sums(
    connection: Connection, choice: _Choice, days: tuple[date, date], most: int
) -> list[Row]:
    """The largest, and everything last. Raises UsageProblem."""
    async with _summing(connection, choice, days, most) as (statement, given):
        return await rows(connection, statement, *given)


@asynccontextmanager
async def _summing(
    connection: Connection, choice: _Choice, days: tuple[date, date], most: int
) -> AsyncIterator[tuple[str, Sequence[Any]]]:
    """A statement with its arguments, and the transaction that it is for."""
    by, owner, only = choice
    with _narrowing():
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            yield await summing(connection, by, owner, days, most, only)


@contextmanager
def _narrowing() -> Iterator[None]:
    try:
        yield
    except (asyncpg.QueryCanceledError, TimeoutError) as error:
        raise UsageProblem(
            "So many events cannot be summed up at once.", "narrow the range."
        ) from error


def _span(asked: Asked) -> tuple[date, date]:
    """The first day and the one after the last. Raises UsageProblem."""
    query = asked.request.query
    today = now_of(asked).date()
    text = query.get("days", "")
    days = next((each for each in _PERIODS if text == str(each)), _DEFAULT_DAYS)
    since, until = query.get("since"), query.get("until")
    with usage("write dates as 2026-01-31."):
        last = date.fromisoformat(until) if until else today
        first = date.fromisoformat(since) if since else last - timedelta(days=days - 1)
        if not 0 <= (last - first).days < _MOST_DAYS or first.year < 2000:  # noqa: PLR2004
            raise ValueError(f"a range has 1 to {_MOST_DAYS} days, in order")
    return first, last + timedelta(days=1)


def _shown(row: Row, total: Row) -> dict[str, Any]:
    return {
        **row,
        "share": _percent(row["clicks"], total["clicks"]),
        "converted": _percent(row["leads"], row["clicks"]),
    }


def _funnel(now: Row, former: Row) -> Sequence[tuple[str, int, str]]:
    """Each figure, and how it changed against the days before."""
    return [
        (name, now[name], _change(now[name], former[name]))
        for name in ("clicks", "unique_clicks", "leads", "sales")
    ]


def _change(now: int, former: int) -> str:
    if not former:
        return "none before"
    return f"{(now - former) / former:+.0%} from {former:,}"


def _percent(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else ""


PAGE: Final = Page("traffic", "Traffic", _read, is_about_all=False)
CSV: Final = Download("traffic.csv", _COLUMNS, _read_all)
