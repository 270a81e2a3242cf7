import asyncio
from importlib.resources import files

import asyncpg
import pytest

from workers.sql import statements

#: Temporary tables that other statements of the same file speak of.
_MADE_FIRST = {
    "scripts": [
        ("verify", "entries_table"),
        ("storm", "recorded_table"),
        ("storm", "quarantined_table"),
    ]
}


@pytest.mark.parametrize("package", ["scripts", "workers"])
def test_every_statement_fits_the_schema(package: str, database_url: str) -> None:
    folder = files(package).joinpath("queries")
    names = [
        path.name.removesuffix(".sql")
        for path in folder.iterdir()
        if path.name.endswith(".sql")
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
