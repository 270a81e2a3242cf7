"""Says why a lead or sale was earned by a click and by no other.

The clicks are found by the very SQL that workers attribute by.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final
from uuid import UUID

from ingest.contracts.directory import DEFAULT_WINDOW_DAYS
from scripts.servers import Connection, rows
from scripts.sql import statements

_SQL: Final = statements("services/find/attribution")

#: Of a visitor's clicks after the first one: the latest, and the earliest in a window.
_EACH_WAY: Final = 10

#: Why a click cannot earn, by its flags.
_OBSTACLES: Final = (
    ("is_test", "a test"),
    ("is_of_another_workspace", "of another workspace"),
    ("is_of_another_program", "of another program"),
    ("is_later", "happened after it"),
    ("is_expired", "older than its window"),
)
_PLACES: Final = {"last_click": "last", "first_click": "first"}


async def explain(connection: Connection, event_id: UUID) -> dict[str, Any] | None:
    """Model, window, candidates and why; None for what is no lead or sale.

    Each of the `candidates` has a `verdict`.
    """
    found = await rows(connection, _SQL["lead"], event_id)
    if not found:
        return None
    (lead,) = found
    clicks = await rows(
        connection, _SQL["candidates"], event_id, _EACH_WAY, DEFAULT_WINDOW_DAYS
    )
    candidates = [_judged(click, lead) for click in clicks]
    return {
        "model": lead["model"],
        "program": lead["program"],
        "window_days": lead["window_days"],
        "click": lead["attributed_id"],
        "why": _why(lead, candidates),
        "candidates": candidates,
    }


def _judged(click: Mapping[str, Any], lead: Mapping[str, Any]) -> dict[str, Any]:
    flags = [name for name, _ in _OBSTACLES]
    shown = {name: value for name, value in click.items() if name not in flags}
    return {**shown, "verdict": _verdict(click, lead)}


def _verdict(click: Mapping[str, Any], lead: Mapping[str, Any]) -> str:
    if click["click"] == lead["attributed_id"]:
        return f"earned it: the {_PLACES[lead['model']]} that counts"
    for flag, why in _OBSTACLES:
        if click[flag]:
            return why
    if lead["attributed_id"] is None:
        return "counts by today's settings: a replay would attribute it"
    return "another is later" if lead["model"] == "last_click" else "another is earlier"


def _why(lead: Mapping[str, Any], candidates: Sequence[Mapping[str, Any]]) -> str:
    """In a sentence, or some."""
    said = [_who_earned(lead, candidates)]
    if lead["is_unverified"]:
        said.append("What binds its customer to that click came without an API key.")
    if lead["is_shared"]:
        said.append(
            "Many visitors share its customer's id: only a click that it names earns it."
        )
    elif not lead["is_keyed"]:
        said.append(
            "It came without an API key: only the visitor whose click it names earns it."
        )
    return " ".join(said)


def _who_earned(
    lead: Mapping[str, Any], candidates: Sequence[Mapping[str, Any]]
) -> str:
    won = [each for each in candidates if each["click"] == lead["attributed_id"]]
    if won:
        (click,) = won
        partner = f", partner {click['partner']}" if click["partner"] else ""
        return (
            f"Earned by link {click['link']}{partner}: its click is the"
            f" {_PLACES[lead['model']]} that counts ({lead['model']}, window"
            f" {click['window_days']} days, {len(candidates)} considered)."
        )
    if lead["attributed_id"] is not None:
        return "Earned by a click of a month that is detached."
    if lead["click_id"] is None and lead["customer_id"] is None:
        return "It names neither click nor customer, so it belongs to its link."
    if candidates:
        return "Nobody earned it: no click counts."
    return "Nobody earned it: no click of its customer is known."
