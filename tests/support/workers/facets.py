"""Facets beside what a plain sum over rows says."""

from typing import Any

from workers.counters.rule import NAMES
from workers.facets.facets import FACETS, make_all
from workers.postgres.database import Pool, transaction

_SUMS = ", ".join(f"sum({name})::bigint" for name in NAMES)


async def make(pool: Pool) -> None:
    """Make all marked buckets."""
    async with transaction(pool) as connection:
        await make_all(connection)


async def wrong_facets(pool: Pool) -> list[Any]:
    """Rows of facets, summed up over buckets, that rows do not say; and those that lack."""
    queries = []
    for facet, column in FACETS.items():
        for side, which, has in (
            ("link_id", "link_id is not null", "link_id is not null"),
            ("workspace_id", "link_id is null", "true"),
        ):
            ours = f"{side}, day, is_test, value"
            theirs = f"{side}, day, is_test, coalesce({column}, '')"
            of = f"from facets where facet = '{facet}' and {which} group by {ours}"
            worth = f"from facet_amounts where facet = '{facet}' and {which} group by {ours}, currency"
            priced = f"from every_share where {has} and currency is not null group by {theirs}, currency"
            for found, due in (
                (
                    f"select {ours}, {_SUMS} {of}",
                    f"select {theirs}, {_SUMS} from every_share where {has} group by {theirs}",  # noqa: S608
                ),
                (
                    f"select {ours}, currency, sum(amount) {worth}",
                    f"select {theirs}, currency, sum(amount) {priced}",
                ),
            ):
                queries += [f"{found} except {due}", f"{due} except {found}"]
    return [tuple(row) for query in queries for row in await pool.fetch(query)]
