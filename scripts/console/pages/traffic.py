"""What links brought: clicks, leads and sales of some days, beside the days before."""

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import Any, Final
from urllib.parse import urlencode
from uuid import UUID

from scripts.console.pages.choosing import now_of, said_of, usage, workspace_of
from scripts.console.protection import missing
from scripts.console.rendering import BASE
from scripts.console.serving import Asked, Download, Page
from scripts.errors import Unreachable, UsageProblem
from scripts.servers import Connection
from scripts.services.administer.access.workspaces import visible
from scripts.services.find.stats import KEYS, SIDES, filtered, ids_of, stats
from workers.counters.rule import NAMES
from workers.facets.facets import FACETS

#: Days until and with today, and what they are called.
_PERIODS: Final = {1: "Today", 7: "7 days", 30: "30 days", 90: "90 days"}
_DEFAULT_DAYS: Final = 7
_MOST_DAYS: Final = 400
_LISTED: Final = 20
_DOWNLOADED: Final = 100_000
_FILTERS: Final = (*SIDES, *FACETS)
#: How a facet that nobody knows is written.
_UNKNOWN: Final = "unknown"

Sums = Mapping[str, Any]


async def _read(asked: Asked) -> Mapping[str, Any]:
    query = asked.request.query
    first, end = _span(asked)
    by, said = query.get("by", "link"), said_of(query, _FILTERS)
    async with asked.console.figures.connection() as connection:
        known = await visible(connection, asked.user.workspaces)
        name = workspace_of(asked, known)
        owner = known.get(name or "")
        most = (end - first).days if by == "day" else _LISTED
        found = await _sums(connection, by, owner, (first, end), most, said)
        before = (first - (end - first), first)
        former = await _sums(connection, "day", owner, before, 1, said)
    total = found[-1]
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
    }


async def _read_all(asked: Asked) -> Sequence[Mapping[str, Any]]:
    """What the page shows, and all that it leaves out."""
    query, days = asked.request.query, _span(asked)
    by, said = query.get("by", "link"), said_of(query, _FILTERS)
    async with asked.console.figures.connection() as connection:
        known = await visible(connection, asked.user.workspaces)
        owner = known.get(workspace_of(asked, known) or "")
        return (await _sums(connection, by, owner, days, _DOWNLOADED, said))[:-1]


async def _sums(
    connection: Connection,
    by: str,
    owner: UUID | None,
    days: tuple[date, date],
    most: int,
    said: Mapping[str, str],
) -> list[dict[str, Any]]:
    """From counters if they have the answer, else from rows. Raises Refused, UsageProblem."""
    if by not in KEYS:
        raise missing()
    ids = await ids_of(connection, said, owner)
    if ids is None:
        raise missing()
    if said.keys() <= {"link"} and (not said or by not in SIDES[1:]):
        return await stats(connection, by, owner, days, most, ids["link"])
    values = {name: text for name, text in said.items() if name in FACETS}
    facets = {name: "" if text == _UNKNOWN else text for name, text in values.items()}
    try:
        return await filtered(connection, by, owner, days, most, ids | facets)
    except Unreachable as error:
        if "too long" in error.what:
            raise UsageProblem(
                "So many events cannot be summed up at once.", "narrow the range."
            ) from error
        raise


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


def _shown(row: Sums, total: Sums) -> dict[str, Any]:
    return {
        **row,
        "share": _percent(row["clicks"], total["clicks"]),
        "converted": _percent(row["leads"], row["clicks"]),
    }


def _funnel(now: Sums, former: Sums) -> Sequence[tuple[str, int, str]]:
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
CSV: Final = Download(
    "traffic.csv", ("key", "id", "workspace", *NAMES, "amounts"), _read_all
)
