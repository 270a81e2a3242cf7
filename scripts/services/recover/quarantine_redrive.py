"""Entries of quarantine chosen, marked to be put back, followed, or discarded.

A mark is a row in Postgres: workers find it within a second or two, and go on when the
command has ended.
"""

import getpass
import os
from contextlib import AbstractAsyncContextManager
from typing import Any, Final, NamedTuple
from uuid import UUID

from uuid_utils.compat import uuid7

from ingest.contracts.variables import SettingsError
from scripts.environment import Environment
from scripts.errors import UsageProblem
from scripts.servers import Connection, rows, single
from scripts.services.recover.quarantine import QuarantineFilter
from scripts.sql import statements
from workers.enrich import build_enrichers
from workers.pipeline.pipeline import Pipeline
from workers.postgres.database import Pool, open_pool
from workers.redrive.page import Redriver
from workers.settings import Settings

_SQL: Final = statements("services/recover/quarantine")
#: So many are marked or given up in one transaction.
_AT_ONCE: Final = 5000
_CONNECTIONS: Final = 2


def operator() -> str:
    """Whom the machine knows the user as."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's user often has no name
        return f"user {os.getuid()}"


class Act(NamedTuple):
    """Who acts, and on how many entries at most; by default the machine's user, on all."""

    who: str = ""
    most: int | None = None


_OURS: Final = Act()


async def ask(
    connection: Connection, choice: QuarantineFilter, act: Act = _OURS
) -> UUID:
    """Mark the chosen entries that are open; the request by which they are followed."""
    request = UUID(int=uuid7().int)
    await _in_parts(connection, "ask", choice, request, act)
    return request


async def cancel(connection: Connection, request: UUID) -> int:
    """Take back what no worker has begun of a request; how many entries those are.

    They stay open. Raises UsageProblem for an unknown request.
    """
    done: int = await connection.fetchval(_SQL["cancel"], request)
    if not done and not (await progress(connection, request))["asked"]:
        raise UsageProblem(
            f"Nothing was asked for by the request {request}.",
            "`reftide quarantine redrive --no-wait` prints the request that it makes.",
        )
    return done


async def discard(
    connection: Connection, choice: QuarantineFilter, why: str, act: Act = _OURS
) -> int:
    """Give the chosen entries up that are open; how many those were."""
    return await _in_parts(connection, "discard", choice, why, act)


async def progress(connection: Connection, request: UUID) -> dict[str, int]:
    """How many were asked for, redriven, failed, and wait for a worker."""
    return await single(connection, _SQL["progress"], request)


async def refused(connection: Connection, request: UUID) -> list[dict[str, Any]]:
    """Why entries of a request are still in quarantine."""
    return await rows(connection, _SQL["refused"], request)


def here(environment: Environment) -> tuple[AbstractAsyncContextManager[Pool], Any]:
    """A pool of our own, and what makes a redriver of it. Raises UsageProblem."""
    try:
        settings = Settings.load(environment.for_processes())
    except SettingsError as error:
        raise UsageProblem(str(error), "set it as the workers have it.") from error

    def build(pool: Pool) -> Redriver:
        pipeline = Pipeline(
            pool=pool,
            enrich=build_enrichers(settings.geo_file),
            consumer=operator(),
            clock=lambda: int(environment.clock() * 1000),
            new_id=uuid7,
            keep_ip=settings.store_ip == "full",
            store_email=settings.store_email,
        )
        return Redriver(pipeline)

    opening = open_pool(
        settings.database_url, size=_CONNECTIONS, is_pooled=settings.is_pooled
    )
    return opening, build


async def _in_parts(
    connection: Connection,
    statement: str,
    choice: QuarantineFilter,
    about: object,
    act: Act,
) -> int:
    total, who = 0, act.who or operator()
    while True:
        part = _AT_ONCE if act.most is None else min(_AT_ONCE, act.most - total)
        done: int = await connection.fetchval(
            _SQL[statement], *choice, about, who, part
        )
        total += done
        if done < part or total == act.most:
            return total
