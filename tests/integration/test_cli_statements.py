import asyncio
from importlib.resources import files

import asyncpg

from scripts.queries import statements


def test_every_statement_fits_the_schema(database_url: str) -> None:
    names = [
        path.name.removesuffix(".sql")
        for path in files("scripts.queries").iterdir()
        if path.name.endswith(".sql")
    ]

    async def prepare() -> None:
        connection = await asyncpg.connect(database_url)
        try:
            await connection.execute(statements("verify")["entries_table"])
            for name in names:
                for statement in statements(name).values():
                    await connection.prepare(statement)
        finally:
            await connection.close()

    asyncio.run(prepare())
    assert "verify" in names
