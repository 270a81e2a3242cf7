"""The command line as tests call it, and what they need around it."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import orjson
from click.testing import CliRunner

from scripts.cli import reftide
from scripts.environment import Environment

SECRET = "a secret of sixteen characters and more"
NOW = 1_795_000_000.0


@dataclass(frozen=True, slots=True)
class Result:
    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """Standard output, which must be one JSON document."""
        return orjson.loads(self.out)


@dataclass(frozen=True, slots=True)
class Cli:
    """Runs `reftide` inside this process, with the variables given here and no others."""

    variables: Mapping[str, str] = field(default_factory=dict)
    now: float = NOW

    @property
    def environment(self) -> Environment:
        """What commands are started with."""
        return Environment(self.variables, lambda: self.now)

    def run(self, *arguments: str, sent: str | None = None) -> Result:
        """What a command does; `sent` is its standard input."""
        done = CliRunner().invoke(reftide, arguments, sent, obj=self.environment)
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return Result(done.exit_code, done.stdout, done.stderr)

    def document(self, *arguments: str) -> Any:
        """What a command that must succeed prints with --json."""
        result = self.run(*arguments, "--json")
        assert result.code == 0, result.err
        return result.document

    def status(self, window: str = "0") -> Any:
        """What `reftide status` says, whether all is well or not; both servers must answer."""
        result = self.run("status", "--window", window, "--json")
        assert result.code in {0, 1}, (result.out, result.err)
        return result.document

    def refusal(self, *arguments: str) -> str:
        """What a command that must be refused says, which is all it prints."""
        result = self.run(*arguments)
        assert (2, "") == (result.code, result.out)
        return result.err

    def fetch(self, statement: str, *arguments: object) -> list[asyncpg.Record]:
        """Rows of the database that this command line is pointed at."""

        async def run() -> list[asyncpg.Record]:
            connection = await asyncpg.connect(self.variables["DATABASE_URL"])
            try:
                return await connection.fetch(statement, *arguments)
            finally:
                await connection.close()

        return asyncio.run(run())

    def reaches_database(self) -> bool:
        """Whether it answers; one that was killed refuses while it recovers."""
        try:
            self.fetch("select")
        except (OSError, asyncpg.PostgresError):
            return False
        return True


def servers_of(redis_url: str, database_url: str) -> Cli:
    return Cli(
        {
            "REDIS_URL": redis_url,
            "DATABASE_URL": database_url,
            "REFTIDE_SECRET": SECRET,
        }
    )
