import asyncio
from importlib.resources import files
from pathlib import Path

import asyncpg
import pytest

from workers.postgres.sql import statements

#: Temporary tables that other statements of the same file speak of.
_MADE_FIRST = {
    "scripts": [
        ("services/observe/verify", "entries_table"),
        ("bench/storm/storm", "recorded_table"),
        ("bench/storm/storm", "quarantined_table"),
    ]
}


@pytest.mark.parametrize("package", ["scripts", "workers"])
def test_every_statement_fits_the_schema(package: str, database_url: str) -> None:
    folder = Path(str(files(package)))
    names = [
        path.relative_to(folder).with_suffix("").as_posix()
        for path in folder.rglob("*.sql")
    ]

    async def prepare() -> None:
        connection = await asyncpg.connect(database_url)
        try:
            for file, name in _MADE_FIRST.get(package, ()):
                await connection.execute(statements(file, package)[name])
            for name in names:
                for statement in statements(name, package).values():
                    await connection.prepare(statement)
        finally:
            await connection.close()

    asyncio.run(prepare())
    assert names
