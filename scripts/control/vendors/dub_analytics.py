"""Dub's route of analytics: sums of the workspace's links, or of one."""

from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

from scripts.control.problems import invalid
from scripts.control.serving import Answer, Call
from scripts.control.vendors import found
from scripts.control.vendors.dub import MOST, shown, sums
from scripts.services.find.stats import stats
from scripts.services.noun import Row

_EVENTS: Final = ("clicks", "leads", "sales", "saleAmount")
#: By what Dub groups: by what we sum up, and what a row is called.
_GROUPS: Final[Mapping[str, tuple[str, str]]] = {
    "count": ("day", ""),
    "timeseries": ("day", "start"),
    "countries": ("country", "country"),
    "devices": ("device", "device"),
    "browsers": ("browser", "browser"),
    "referers": ("referrer", "referer"),
    "top_links": ("link", "link"),
}
_DAYS: Final = {"24h": 1, "7d": 7, "30d": 30, "90d": 90, "1y": 365}
_UNKNOWN: Final = "Unknown"
#: What is told of each of the top links.
_TOLD: Final = ("id", "domain", "key", "shortLink", "url", "createdAt", "partnerId")


async def analytics(call: Call) -> Answer:
    """Sum up by `groupBy`: a number of each kind, or those of one `event`."""
    query = call.request.query
    group, event = query.get("groupBy", "count"), query.get("event", "clicks")
    if group not in _GROUPS:
        raise invalid(f"groupBy is one of {', '.join(_GROUPS)}.", "groupBy")
    if event not in {*_EVENTS[:3], "composite"}:
        raise invalid("event is clicks, leads, sales or composite.", "event")
    by, name = _GROUPS[group]
    link = await _link(call)
    owner = call.caller.workspace.id
    days = _days(query, datetime.fromtimestamp(call.environment.clock(), UTC).date())
    *rows, total = await stats(
        call.connection, by, owner, days, MOST, link and link["id"]
    ) or [{}]
    if group == "count":
        return Answer(_of(event, total))
    if group == "top_links":
        return Answer([await _top(call, event, row) for row in rows])
    order = reversed(rows) if group == "timeseries" else rows
    return Answer([{name: row["key"] or _UNKNOWN, **_of(event, row)} for row in order])


async def _link(call: Call) -> Row | None:
    query = call.request.query
    names = {
        "public_id": query.get("linkId"),
        "external_id": query.get("externalId"),
        "domain": query.get("domain"),
        "code": query.get("key"),
    }
    if not (names["public_id"] or names["external_id"] or names["code"]):
        return None
    return await found.link(call, **names)


def _of(event: str, row: Row) -> dict[str, Any]:
    """The sums of one event, or of all."""
    known = {"unique_clicks": 0, "leads": 0, "sales": 0, "amounts": None, **row}
    all_of_them = sums(known)
    names = {"composite": _EVENTS, "sales": _EVENTS[2:]}.get(event, (event,))
    return {name: all_of_them[name] for name in names}


async def _top(call: Call, event: str, row: Row) -> dict[str, Any]:
    link = shown(await found.link(call, public_id=row["id"]))
    told = {name: link[name] for name in _TOLD}
    return {"link": link["id"], **told, **_of(event, row)}


def _days(query: Mapping[str, str], today: date) -> tuple[date | None, date | None]:
    """The first day, and the one after the last."""
    if query.get("start") or query.get("end"):
        last = _day(query, "end")
        return _day(query, "start"), last and last + timedelta(days=1)
    interval = query.get("interval", "24h")
    if interval == "all":
        return None, None
    starts: Mapping[str, Callable[[], date]] = {
        "mtd": lambda: today.replace(day=1),
        "qtd": lambda: today.replace(month=(today.month - 1) // 3 * 3 + 1, day=1),
        "ytd": lambda: today.replace(month=1, day=1),
    }
    if interval in starts:
        return starts[interval](), None
    if interval not in _DAYS:
        raise invalid(
            f"interval is one of {', '.join((*_DAYS, *starts, 'all'))}.", "interval"
        )
    return today - timedelta(days=_DAYS[interval]), None


def _day(query: Mapping[str, str], name: str) -> date | None:
    if not query.get(name):
        return None
    try:
        return datetime.fromisoformat(query[name]).date()
    except ValueError as error:
        raise invalid(f"{name} is no date.", name) from error
