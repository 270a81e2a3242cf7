"""Quarantine as an operator works on it: the command line beside a worker."""

import asyncio
from collections.abc import Callable
from typing import Any

from ingest.contracts.envelope import Envelope
from tests.support.directory import WORKSPACE
from tests.support.servers.cli import Cli, Result
from tests.support.workers.redriving import NEW_LINK, Clinic, a_clinic


class Desk:
    """The command line, and a worker that is there only when it is called."""

    def __init__(self, cli: Cli, database_url: str, redis_url: str) -> None:
        self.cli = cli
        self._urls = (database_url, redis_url)
        self._past = 0

    def work(self, act: Callable[[Clinic], Any]) -> Any:
        async def run() -> Any:
            async with a_clinic(*self._urls, is_furnished=self._past > 0) as clinic:
                # Entries of their own, each time.
                for _ in range(self._past):
                    next(clinic._entries)
                return await act(clinic)

        done = asyncio.run(run())
        self._past += 100
        return done

    def add_link(self) -> None:
        """The link that `lost_click` lacks."""
        self.work(lambda clinic: clinic.add_link(NEW_LINK, "NEW", WORKSPACE))

    def refuse(self, *envelopes: Envelope | bytes) -> None:
        self.work(lambda clinic: clinic.take_in(*envelopes))

    def redrive(self) -> None:
        self.work(lambda clinic: clinic.redrive())

    def ledger(self) -> tuple[int, int, int]:
        return self.work(lambda clinic: clinic.ledger())

    def mistakes(self) -> list[Any]:
        return self.work(lambda clinic: clinic.mistakes())

    def shown(self, number: int) -> Any:
        return self.cli.document("quarantine", "show", str(number))

    def run(self, *arguments: str) -> Result:
        return self.cli.run("quarantine", *arguments)

    def done(self, *arguments: str, code: int = 0) -> Any:
        result = self.cli.run("quarantine", *arguments, "--json")
        assert code == result.code, result.err
        return result.document
