"""Entries of quarantine: chosen by a filter, listed, shown."""

from collections.abc import Mapping
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


class QuarantineFilter(NamedTuple):
    """Which entries: those that meet all that is said; the statements' first parameters."""

    reason: str | None = None
    status: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    workspace_id: UUID | None = None
    code: str | None = None
    ids: tuple[int, ...] | None = None


async def choose(connection: Connection, by: Mapping[str, Any]) -> QuarantineFilter:
    """The entries that the options name. Raises UsageProblem for what is not there."""
    ids = tuple(by.get("ids", ())) or None
    choice = QuarantineFilter(
        reason=by["reason"],
        status=None if by.get("status") == "all" else by.get("status", "open"),
        since=by["since"],
        until=by["until"],
        workspace_id=await filter_by(connection, by["workspace"]),
        code=by["code"],
        ids=ids,
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


async def count(connection: Connection, choice: QuarantineFilter) -> int:
    number: int = await connection.fetchval(_SQL["count"], *choice)
    return number


async def _require_open(connection: Connection, choice: QuarantineFilter) -> None:
    """Raises UsageProblem where an entry that was named is not there, or is not open."""
    if not choice.ids:
        return
    named = choice._replace(status="open")
    found = await rows(connection, _SQL["list"], *named, len(choice.ids))
    if missing := sorted(set(choice.ids) - {row["id"] for row in found}):
        listed = ", ".join(map(str, missing))
        raise UsageProblem(
            f"Not open in quarantine: {listed}.",
            f"see `reftide quarantine show {missing[0]}`.",
        )


async def listed(
    connection: Connection, choice: QuarantineFilter, limit: int
) -> dict[str, Any]:
    """The newest entries, how many there are, and what was counted but not kept."""
    return {
        "count": await count(connection, choice),
        "entries": await rows(connection, _SQL["list"], *choice, limit),
        "dropped": await rows(connection, _SQL["dropped"]),
    }


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
