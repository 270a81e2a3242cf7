"""Entries of quarantine: chosen by a filter, listed, shown."""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

import orjson

from scripts.errors import UsageProblem
from scripts.servers import Connection, required, rows
from scripts.services.administer.access.workspaces import filter_by
from scripts.services.recover import quarantine_edit
from scripts.sql import statements

_SQL: Final = statements("services/recover/quarantine")
REASONS: Final = (
    "undecodable", "unstorable", "future_id", "crash_loop", "unknown_link",
    "inactive_link", "unknown_program", "unknown_click", "expired", "unauthorised",
)  # fmt: skip
STATUSES: Final = ("open", "redriven", "discarded", "all")


class QuarantineFilter(NamedTuple):
    """Which entries: those that meet all that is said; the statements' first parameters."""

    reason: str | None = None
    status: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    workspaces: tuple[UUID, ...] | None = None
    code: str | None = None
    ids: tuple[int, ...] | None = None
    dialect: str | None = None
    text: str | None = None


async def choose(
    connection: Connection,
    by: Mapping[str, Any],
    within: Collection[UUID] | None = None,
) -> QuarantineFilter:
    """The entries that the options name, of these workspaces if they are given.

    Raises UsageProblem for what is not there.
    """
    ids = tuple(by.get("ids", ())) or None
    choice = QuarantineFilter(
        reason=by["reason"],
        status=None if by.get("status") == "all" else by.get("status", "open"),
        since=by["since"],
        until=by["until"],
        workspaces=await _workspaces(connection, by["workspace"], within),
        code=by["code"],
        ids=ids,
        dialect=by["dialect"],
        text=by["text"],
    )
    is_filtered = any(choice._replace(ids=None, status=None))
    if (
        "everything" in by
        and [bool(ids), is_filtered, by["everything"]].count(True) != 1
    ):
        raise UsageProblem(
            "No entries are named, or in two ways.",
            "say which in one way: by their ids, by filters, or by --all.",
        )
    await _require_open(connection, choice)
    return choice


async def _workspaces(
    connection: Connection, name: str | None, within: Collection[UUID] | None
) -> tuple[UUID, ...] | None:
    owner = await filter_by(connection, name)
    if owner is None:
        return None if within is None else tuple(within)
    # Of what others own, nobody hears that it exists.
    return (owner,) if within is None or owner in within else ()


async def count(
    connection: Connection, choice: QuarantineFilter, most: int | None = None
) -> int:
    """How many there are; `most` if there are as many or more."""
    number: int = await connection.fetchval(_SQL["count"], *choice, most)
    return number


async def summary(
    connection: Connection, choice: QuarantineFilter
) -> list[dict[str, Any]]:
    """How many there are by reason, workspace and dialect, and since when."""
    return await rows(connection, _SQL["summary"], *choice)


async def _require_open(connection: Connection, choice: QuarantineFilter) -> None:
    """Raises UsageProblem where an entry that was named is not there, or is not open."""
    if not choice.ids:
        return
    named = choice._replace(status="open")
    found = await rows(connection, _SQL["list"], *named, None, len(choice.ids))
    if missing := sorted(set(choice.ids) - {row["id"] for row in found}):
        listed = ", ".join(map(str, missing))
        raise UsageProblem(
            f"Not open in quarantine: {listed}.",
            f"see `reftide quarantine show {missing[0]}`.",
        )


async def listed(
    connection: Connection,
    choice: QuarantineFilter,
    limit: int,
    before: int | None = None,
) -> dict[str, Any]:
    """The newest entries, how many there are, and what was counted but not kept.

    A further page lists what is `before` the last id of the former one.
    """
    return {
        "count": await count(connection, choice),
        "entries": await page(connection, choice, limit, before),
        "dropped": await rows(connection, _SQL["dropped"]),
    }


async def page(
    connection: Connection,
    choice: QuarantineFilter,
    limit: int,
    before: int | None = None,
) -> list[dict[str, Any]]:
    """The newest entries; of those `before` an id, if there is one."""
    return await rows(connection, _SQL["list"], *choice, before, limit)


async def show(connection: Connection, number: int) -> dict[str, Any]:
    """An entry with its envelope, if it can be decoded, and its history.

    Raises UsageProblem for an unknown id.
    """
    row = await _one(connection, number)
    history = await rows(connection, _SQL["history"], number)
    for act in history:
        act["before"] = orjson.loads(act["before"])
        act["payload"] = act["payload"] and _text(act["payload"])
    return {
        **row,
        "payload": _text(row["payload"]),
        "envelope": quarantine_edit.decoded(row["payload"]),
        "history": history,
    }


async def open_entry(connection: Connection, number: int) -> dict[str, Any]:
    """Raises UsageProblem for an entry that is unknown, or not open."""
    row = await _one(connection, number)
    if row["status"] != "open":
        raise UsageProblem(
            f"The entry {number} is {row['status']}.", "only open ones can be edited."
        )
    return row


async def _one(connection: Connection, number: int) -> dict[str, Any]:
    unknown = UsageProblem(
        f"Nothing in quarantine has the id {number}.",
        "see `reftide quarantine list --status all`.",
    )
    return await required(connection, unknown, _SQL["one"], number)


def _text(payload: bytes) -> str:
    return payload.decode("utf-8", "backslashreplace")
