"""What links brought: clicks, leads and sales of some days, beside the days before."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from scripts.console.pages.choosing import workspace_of
from scripts.console.protection import missing
from scripts.console.serving import Asked, Page
from scripts.services.administer.access.workspaces import visible
from scripts.services.find.stats import KEYS, stats

#: Days until and with today, and what they are called.
_PERIODS: Final = {1: "Today", 7: "7 days", 30: "30 days", 90: "90 days"}
_DEFAULT_DAYS: Final = 7
_LISTED: Final = 20

Sums = Mapping[str, Any]


async def _read(asked: Asked) -> Mapping[str, Any]:
    query = asked.request.query
    by = query.get("by", "link")
    days = _days(query.get("days", ""))
    if by not in KEYS:
        raise missing()
    today = datetime.fromtimestamp(asked.console.environment.clock(), UTC).date()
    first, end = today - timedelta(days=days - 1), today + timedelta(days=1)
    before = first - timedelta(days=days)
    async with asked.console.reads.connection() as connection:
        known = await visible(connection, asked.user.workspaces)
        name = workspace_of(asked, known)
        owner = None if name is None else known[name]
        most = max(_PERIODS) if by == "day" else _LISTED
        found = await stats(connection, by, owner, (first, end), most)
        former = await stats(connection, "day", owner, (before, first), 1)
    total = found[-1]
    return {
        "by": by,
        "days": days,
        "keys": KEYS,
        "periods": _PERIODS,
        "workspace": name,
        "workspaces": [*known],
        "first": first,
        "today": today,
        "rows": [_shown(row, total) for row in found if not row["is_total"]],
        "funnel": _funnel(total, former[-1]),
        "total": _shown(total, total),
    }


def _days(text: str) -> int:
    """How many days are asked for; the usual number where that is none of them."""
    return next((each for each in _PERIODS if text == str(each)), _DEFAULT_DAYS)


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
