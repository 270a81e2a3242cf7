"""`reftide stats`: sums of clicks, leads and sales."""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

import click

from scripts.environment import Environment
from scripts.output import (
    csv_option,
    csv_rows,
    emit,
    in_one_format,
    json_option,
    table,
)
from scripts.parameters import when
from scripts.servers import Connection, ask_postgres
from scripts.services.administer.access.workspaces import filter_by
from scripts.services.find.stats import KEYS, stats
from workers.counters.rule import NAMES

#: Sums over all rows of a large installation take their time.
_SECONDS: Final = 600.0
#: What tells two of one name apart.
_MORE: Final = {
    "link": ("public_id", "workspace"),
    "partner": ("public_id", "workspace"),
    "program": ("name", "workspace"),
}


@click.command(
    epilog="""\b
  reftide stats --by partner --since 2026-01-01 --until 2026-01-31 --csv
  reftide stats --by day --since 30d
  reftide stats --by country --workspace acme
  reftide stats --by referrer --since 7d
\b
Days are whole ones, in UTC, by the time of the events. --until includes its day. Without
dates, links and partners are answered by counters; by day, and links of a time, by those
of days, which have no amounts. Partners and programs of a time are summed up from rows: that
takes a second for some million events. Countries, devices, browsers, referrers and dialects
are facets: workers sum them up seconds after the events, and of a day keep the hundred
largest values; the others are (other).
"""
)
@click.option("--by", type=click.Choice(KEYS), default="link", help="A row for each.")
@when("--since", note="From that day on: 7d, or a date.")
@when("--until", note="Up to that day.")
@click.option("--workspace", metavar="NAME", help="Whose.")
@click.option(
    "--limit",
    type=click.IntRange(1, 100_000),
    default=100,
    help="At most so many rows. The total is over everything.",
)
@csv_option
@json_option
@click.pass_obj
def command(environment: Environment, /, **asked: Any) -> None:
    """Sum up clicks, leads and sales by link, partner, program, day or facet."""
    in_one_format(as_json=asked["as_json"], as_csv=asked["as_csv"])
    by, days = asked["by"], _days(asked["since"], asked["until"])

    async def ask(connection: Connection) -> list[dict[str, Any]]:
        owner = await filter_by(connection, asked["workspace"])
        return await stats(connection, by, owner, days, asked["limit"])

    *found, total = ask_postgres(environment.lagging(), ask, seconds=_SECONDS)
    # Counters of days have none.
    amounts = [] if by == "day" or (by == "link" and any(days)) else ["amounts"]
    columns = (by, *_MORE.get(by, ()), *NAMES, *amounts)
    listed = [_named(row, by) for row in found]
    sums = {name: total[name] for name in NAMES}
    if asked["as_csv"]:
        csv_rows(listed, columns)
    else:
        document = {"by": by, "rows": listed, "total": sums}
        emit(asked["as_json"], document, lambda: _show(listed, columns, sums))


def _days(
    since: datetime | None, until: datetime | None
) -> tuple[date | None, date | None]:
    """The first day, and the one after the last."""
    first = since.astimezone(UTC).date() if since else None
    last = until.astimezone(UTC).date() + timedelta(days=1) if until else None
    return first, last


def _named(row: Mapping[str, Any], by: str) -> dict[str, Any]:
    names = dict(zip(_MORE.get(by, ()), (row["id"], row["workspace"]), strict=False))
    sums = {name: row[name] for name in NAMES}
    return {by: row["key"], **names, **sums, "amounts": row["amounts"]}


def _show(
    listed: Sequence[Mapping[str, Any]], columns: Sequence[str], sums: Mapping[str, int]
) -> None:
    total = {**dict.fromkeys(columns), columns[0]: "total", **sums}
    table([*listed, total], columns)
