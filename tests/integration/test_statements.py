import asyncio
from importlib.resources import files

import asyncpg
import pytest

from workers.sql import statements


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
            if package == "scripts":
                made_first = statements("verify", package)["entries_table"]
                await connection.execute(made_first)
            for name in names:
                for statement in statements(name, package).values():
                    await connection.prepare(statement)
        finally:
            await connection.close()

    asyncio.run(prepare())
    assert names
