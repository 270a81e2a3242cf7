"""Sums of what links brought, from counters where they have the answer, else from rows.

Without dates, links and partners have counters; of links and days there are counters a day, and
of countries and the like facets. Partners and programs of a time are summed up from the rows that
`verify` compares the counters with, and from what stands for months that are detached.
"""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any, Final

from scripts.servers import Connection, rows, single
from scripts.sql import statements
from workers.counters.rule import NAMES
from workers.facets.facets import FACETS

_SQL: Final = statements("services/find/stats")

#: What may be summed up by. Each has rows of its own; what a row is about is its `key`.
KEYS: Final = ("link", "partner", "program", "day", *FACETS)

_LARGEST: Final = "clicks desc, leads desc, key"
_ENROLLED: Final = (
    "contributed.program_id is not null and contributed.partner_id is not null"
)
_OF_A_WORKSPACE: Final = "join workspaces on workspaces.id = workspace_id"
#: Of sums over rows: the column, which rows, and what people call its values.
_ROWS: Final = {
    "partner": {
        "column": "partner_id",
        "which": _ENROLLED,
        "named": "partners.code as key, partners.public_id as id,"
        " workspaces.name as workspace",
        "joined": f"join partners on partners.id = whose {_OF_A_WORKSPACE}",
    },
    "program": {
        "column": "program_id",
        "which": _ENROLLED,
        "named": "programs.number as key, programs.name as id,"
        " workspaces.name as workspace",
        "joined": f"join programs on programs.id = whose {_OF_A_WORKSPACE}",
    },
}


def _sums(table: str = "") -> str:
    return ", ".join(
        f"coalesce(sum({table}{name}), 0)::bigint as {name}" for name in NAMES
    )


def _report(found: str, order: str = _LARGEST) -> str:
    kept = ", ".join(NAMES)
    return _SQL["report"].format(
        found=found.format(sums=_sums(), day_sums=_sums("link_days.")),
        order=order,
        sums=_sums(),
        sums_kept=kept,
    )


def _enrolled(by: str) -> str:
    return _SQL["enrolled"].format(by=by, sums="{sums}", **_ROWS[by])


def _of_rows(by: str) -> str:
    own, whole = _sums("contributed."), _sums()
    return _report(_SQL["rows"].format(**_ROWS[by], own_sums=own, sums=whole))


def _of_facets(by: str) -> str:
    which = _SQL["of_facets"]
    return _report(_SQL["facets"].replace("{of_facets}", which).replace("{facet}", by))


#: The statements by what is summed up by, and whether of a time.
REPORTS: Final = {
    ("link", False): _report(_SQL["links"]),
    **{(by, False): _report(_enrolled(by)) for by in ("partner", "program")},
    ("link", True): _report(_SQL["links_of_days"]),
    **{("day", dated): _report(_SQL["days"], "key desc") for dated in (False, True)},
    **{(by, True): _of_rows(by) for by in ("partner", "program")},
    **{(by, dated): _of_facets(by) for by in FACETS for dated in (False, True)},
}  # fmt: skip
#: Those that sum up rows.
SUMMED: Final = frozenset(REPORTS[by, True] for by in _ROWS)


#: What rows may be filtered by, besides facets.
SIDES: Final = ("link", "partner", "program")
_BARE: Final = "null::text as id, null::text as workspace"
#: Of filtered rows: the column, what people call its values, and what tells that.
_FILTERED: Final = {
    "link": (
        "link_id",
        "links.code as key, links.public_id as id, workspaces.name as workspace",
        f"left join links on links.id = whose left {_OF_A_WORKSPACE}",
    ),
    **{
        by: (each["column"], each["named"], f"left {each['joined'].replace(' join', ' left join')}")
        for by, each in _ROWS.items()
    },
    "day": ("day", f"whose as key, {_BARE}", ""),
    **{
        name: (column, f"nullif(whose, '') as key, {_BARE}", "")
        for name, column in FACETS.items()
    },
}  # fmt: skip
_FACETS_ARE: Final = " and ".join(
    f"(${place}::text is null or coalesce({column}, '') = ${place})"
    for place, column in enumerate(FACETS.values(), 8)
)


def _of_filtered(by: str) -> str:
    column, named, joined = _FILTERED[by]
    found = _SQL["filtered"].format(
        column=column, named=named, joined=joined, sums=_sums(), facets_are=_FACETS_ARE,
        own_counters=", ".join(f"counted.{name}" for name in NAMES),
    )  # fmt: skip
    return _report(found, "key desc" if by == "day" else _LARGEST)


FILTERED: Final = {by: _of_filtered(by) for by in KEYS}
_LEAD_TIMES: Final = _SQL["lead_times"].format(facets_are=_FACETS_ARE)
#: Leads whose times are told, the latest.
_TIMED: Final = 10_000


async def ids_of(
    connection: Connection, named: Mapping[str, str], workspace_id: Any
) -> dict[str, Any] | None:
    """The ids of a link, a partner and a program; None where one that is named is unknown."""
    asked = (named.get(side) for side in SIDES)
    [found] = await rows(connection, _SQL["ids"], *asked, workspace_id)
    is_known = all(found[side] is not None for side in SIDES if side in named)
    return found if is_known else None


async def summing(
    connection: Connection,
    by: str,
    workspace_id: Any,
    days: tuple[date | None, date | None],
    limit: int,
    only: Mapping[str, Any],
) -> tuple[str, Sequence[Any]]:
    """The statement that sums up what has these ids and values of facets, and its arguments.

    Counters have the answer without any, or of a link; but partners and programs of a time are
    summed up from rows, and from what stands for detached months. With other ids and values all
    rows of the days are read, and detached months have none.
    """
    asked = (workspace_id, *days, limit)
    is_counted = not only or (only.keys() == {"link"} and by not in SIDES[1:])
    if not is_counted:
        return FILTERED[by], (*asked, *_chosen(only))
    statement = REPORTS[by, any(days)]
    if statement in SUMMED:
        return statement, (*asked, await connection.fetchval(_SQL["folded"]))
    return statement, (*asked, only.get("link"))


async def lead_times(
    connection: Connection,
    workspace_id: Any,
    days: tuple[date, date],
    only: Mapping[str, Any],
) -> dict[str, Any]:
    """How long leads came after the clicks that earned them, of the latest that are asked for.

    `leads` are how many, `median` and `most` (of nine in ten) seconds; None without any.
    """
    asked = (workspace_id, *days, _TIMED, *_chosen(only))
    return await single(connection, _LEAD_TIMES, *asked)


def _chosen(only: Mapping[str, Any]) -> list[Any]:
    return [only.get(name) for name in (*SIDES, *FACETS)]


async def stats(
    connection: Connection,
    by: str,
    workspace_id: Any,
    days: tuple[date | None, date | None],
    limit: int,
    link_id: Any = None,
) -> list[dict[str, Any]]:
    """The largest sums, or the latest days; the last row `is_total`, over all of them.

    `days` (UTC) are the first one and the one after the last. Of one link there are sums by
    link, day and facet.
    """
    only = {} if link_id is None else {"link": link_id}
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        asked = await summing(connection, by, workspace_id, days, limit, only)
        return await rows(connection, asked[0], *asked[1])
