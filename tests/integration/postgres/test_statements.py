import asyncio
from importlib.resources import files
from pathlib import Path

import asyncpg
import pytest

from scripts import sql
from scripts.services.find import stats
from scripts.services.observe.verify import COMPARISONS
from workers.counters.rule import ADD_ALL, TABLES, addition, comparison
from workers.erasure import runner
from workers.facets import facets
from workers.postgres.sql import statements as worker_statements
from workers.publish import publisher
from workers.replay import reprocess

#: Temporary tables that other statements of the same file speak of.
_MADE_FIRST = {
    "scripts": [
        ("services/observe/verify", "entries_table"),
        ("bench/storm/storm", "recorded_table"),
        ("bench/storm/storm", "quarantined_table"),
    ]
}

#: What becomes of statements with holes.
_FILLED = {
    ("counters/counters", "add_to_links"): [ADD_ALL],
    ("counters/counters", "add"): [addition(table) for table in TABLES],
    ("counters/counters", "mark"): [],
    ("facets/facets", "make"): [facets._MAKE],
    ("counters/counters", "wrong"): [comparison(table) for table in TABLES],
    ("services/observe/verify", "counters"): [*COMPARISONS.values()],
    ("services/find/stats", "report"): [
        *stats.REPORTS.values(),
        *stats.FILTERED.values(),
    ],
    **{
        ("services/find/stats", name): []
        for name in (
            "rows",
            "enrolled",
            "links",
            "links_of_days",
            "days",
            "facets",
            "of_facets",
            "filtered",
        )
    },
    ("services/find/stats", "lead_times"): [stats._LEAD_TIMES],
    ("erasure/erasure", "events_pseudonymize"): [runner._PSEUDONYMIZE_EVENTS],
    ("publish/publisher", "changes_next"): [*publisher._CHANGES_NEXT.values()],
    ("replay/replays", "correct"): [reprocess._CORRECT],
}


@pytest.mark.parametrize("package", ["scripts", "workers"])
def test_every_statement_fits_the_schema(package: str, database_url: str) -> None:
    statements = {"scripts": sql.statements, "workers": worker_statements}[package]
    folder = Path(str(files(package)))
    names = [
        path.relative_to(folder).with_suffix("").as_posix()
        for path in folder.rglob("*.sql")
    ]

    async def prepare() -> None:
        connection = await asyncpg.connect(database_url)
        try:
            async with connection.transaction():
                for file, name in _MADE_FIRST.get(package, ()):
                    await connection.execute(statements(file)[name])
                for file in names:
                    for name, statement in statements(file).items():
                        for filled in _FILLED.get((file, name), [statement]):
                            await connection.prepare(filled)
        finally:
            await connection.close()

    asyncio.run(prepare())
    assert names
