"""Which entries of quarantine a command is about."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final, TypeVar
from uuid import UUID

import click

from scripts.errors import UsageProblem
from scripts.parameters import Moment
from scripts.servers import Connection, rows
from scripts.services.administer.access.workspaces import filter_by
from scripts.sql import statements

_SQL: Final = statements("services/recover/quarantine")

_REASONS: Final = (
    "undecodable", "unstorable", "future_id", "crash_loop", "unknown_link",
    "inactive_link", "unknown_program", "unknown_click", "expired", "unauthorised",
)  # fmt: skip

_Body = TypeVar("_Body", bound=Callable[..., Any])


def filters(*names: str) -> Callable[[_Body], _Body]:
    """The options that choose entries; `names` are those of the reason's."""
    options = [
        click.option(*names, "reason", type=click.Choice(_REASONS), help="Only these."),
        click.option(
            "--since", type=Moment(), metavar="WHEN", help="90m, 2h, 3d, or a date."
        ),
        click.option(
            "--until", type=Moment(), metavar="WHEN", help="Last seen before then."
        ),
        click.option("--workspace", metavar="NAME", help="Whose."),
        click.option(
            "--link", "code", metavar="CODE", help="Only what names it, by code or id."
        ),
    ]

    def add(body: _Body) -> _Body:
        for option in reversed(options):
            body = option(body)
        return body

    return add


numbers = click.argument("ids", metavar="[ID]...", type=click.IntRange(1), nargs=-1)
everything = click.option("--all", "everything", is_flag=True, help="All open ones.")
dry = click.option("--dry-run", is_flag=True, help="Only tell how many.")


@dataclass(frozen=True, slots=True, kw_only=True)
class QuarantineFilter:
    """Which entries: those that meet all that is said."""

    reason: str | None = None
    status: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    workspace_id: UUID | None = None
    code: str | None = None
    ids: tuple[int, ...] = ()

    def parameters(self) -> tuple[object, ...]:
        """As the statements of `quarantine` begin."""
        return (
            self.reason,
            self.status,
            self.since,
            self.until,
            self.workspace_id,
            self.code,
            list(self.ids) or None,
        )


async def choose(connection: Connection, by: Mapping[str, Any]) -> QuarantineFilter:
    """The entries that the options name. Raises UsageProblem for what is not there."""
    ids = tuple(by.get("ids", ()))
    choice = QuarantineFilter(
        reason=by["reason"],
        status=None if by.get("status") == "all" else by.get("status", "open"),
        since=by["since"],
        until=by["until"],
        workspace_id=await filter_by(connection, by["workspace"]),
        code=by["code"],
        ids=ids,
    )
    is_filtered = replace(choice, ids=(), status=None) != QuarantineFilter()
    if (
        "everything" in by
        and [bool(ids), is_filtered, by["everything"]].count(True) != 1
    ):
        raise click.UsageError("say which: by their ids, by filters, or --all")
    await _require_open(connection, choice)
    return choice


async def count(connection: Connection, choice: QuarantineFilter) -> int:
    number: int = await connection.fetchval(_SQL["count"], *choice.parameters())
    return number


async def _require_open(connection: Connection, choice: QuarantineFilter) -> None:
    """Raises UsageProblem where an entry that was named is not there, or is not open."""
    if not choice.ids:
        return
    named = replace(choice, status="open")
    found = await rows(connection, _SQL["list"], *named.parameters(), len(choice.ids))
    if missing := sorted(set(choice.ids) - {row["id"] for row in found}):
        listed = ", ".join(map(str, missing))
        raise UsageProblem(
            f"Not open in quarantine: {listed}.",
            f"see `reftide quarantine show {missing[0]}`.",
        )
