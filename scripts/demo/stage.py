"""The programs, partners and links that the demo clicks on. Used by `play`.

They belong to the demo workspace, are made once, and found again by every later run.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from redis.asyncio import Redis
from uuid_utils.compat import uuid7

from ingest.contracts import apikey
from ingest.contracts.directory import (
    DEFAULT_NAMESPACE,
    DEFAULT_WINDOW_DAYS,
    GENERATION_KEY,
    LIMITS_KEY,
    api_key_key,
    click_key,
    link_key,
)
from scripts.demo.sending import API_KEY
from scripts.demo.steps import Codes
from scripts.environment import Environment
from scripts.errors import Unreachable, UsageProblem
from scripts.servers import Connection, postgres, redis_server, rows
from scripts.services.administer.access.workspaces import Workspace, named
from scripts.services.administer.catalogue.links import Wanted, add_link
from scripts.services.administer.parsers import public_id
from scripts.services.maintain.seed import WORKSPACE, plant
from scripts.sql import statements

_PROGRAMS: Final = {
    "Demo shop": "last_click",
    "Demo academy": "first_click",
    "Demo travel": "last_click",
}
_PARTNERS: Final = (
    "amara", "bilal", "clara", "dmitri", "elena", "fatima", "george", "hana", "ivan",
    "julia", "kwame", "lena",
)  # fmt: skip
_URL: Final = "https://shop.example.com"

#: The last two are switched off.
CODES: Final = tuple(f"demo-{number:03}" for number in range(1, 41))
_INACTIVE: Final = frozenset(CODES[-2:])

_PUBLISHED_SECONDS: Final = 15.0
_LOOK_AGAIN_SECONDS: Final = 0.1

_SQL: Final = {
    **{
        name: statements(f"services/administer/catalogue/{name}")
        for name in ("links", "partners", "programs")
    },
    "workspaces": statements("services/administer/access/workspaces"),
    "demo": statements("demo/demo"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A link of the demo and what it has counted so far."""

    code: str
    is_active: bool
    clicks: int
    bot_clicks: int
    duplicate_clicks: int
    leads: int


async def furnish(environment: Environment) -> Codes:
    """Make what is missing, and return when the edges know it. Raises as `plant` does."""
    await _may_be_furnished(environment)
    planted = await plant(environment)
    async with postgres(environment) as connection:
        async with connection.transaction():
            workspace = await named(connection, WORKSPACE)
            programs = await _programs(connection, workspace)
            await _partners(connection, workspace)
            await _links(connection, workspace, programs)
            await connection.execute(_SQL["demo"]["unlimited"], _key_id(planted))
        links = await read_links(connection)
    keys = _directory_keys(environment, workspace, planted)
    async with redis_server(environment) as redis:
        await _published(redis, keys)
    return Codes(
        active=[link.code for link in links if link.is_active],
        inactive=[link.code for link in links if not link.is_active],
        programs=programs,
    )


async def _may_be_furnished(environment: Environment) -> None:
    """Raise UsageProblem for servers of the operator's own that nobody has seeded."""
    if environment.is_embedded:
        return
    async with postgres(environment) as connection:
        if not await connection.fetchrow(_SQL["workspaces"]["named"], WORKSPACE):
            raise UsageProblem(
                "The demo needs the demo workspace, whose API keys are public, and these"
                " servers do not have it.",
                "run the demo on `reftide up`'s own servers; or, where nobody sends real"
                " events, `reftide seed` first.",
            )


async def read_links(connection: Connection) -> list[Link]:
    """The demo's links as they stand."""
    found = await rows(connection, _SQL["demo"]["links"], list(CODES))
    return [Link(**row) for row in found]


async def _programs(connection: Connection, workspace: Workspace) -> list[int]:
    for name, model in _PROGRAMS.items():
        await connection.fetchval(
            _SQL["programs"]["add"],
            uuid7(),
            None,
            workspace.id,
            name,
            _URL,
            model,
            DEFAULT_WINDOW_DAYS,
            DEFAULT_WINDOW_DAYS,
        )
    found = await connection.fetch(
        _SQL["demo"]["programs"], workspace.id, list(_PROGRAMS)
    )
    return [row["number"] for row in found]


async def _partners(connection: Connection, workspace: Workspace) -> None:
    for code in _PARTNERS:
        await connection.fetchval(
            _SQL["partners"]["add"],
            uuid7(),
            workspace.id,
            public_id("prt_"),
            code,
            code.capitalize(),
            None,
        )


async def _links(
    connection: Connection, workspace: Workspace, programs: Sequence[int]
) -> None:
    # Two that furnish at once would make the links twice.
    await connection.execute(_SQL["links"]["one_writer"])
    for number, code in enumerate(CODES):
        there = await connection.fetchrow(
            _SQL["links"]["named"], DEFAULT_NAMESPACE, code
        )
        if there is None:
            wanted = Wanted(
                code=code,
                program=programs[number % len(programs)],
                partner=_PARTNERS[number % len(_PARTNERS)],
                inactive=code in _INACTIVE,
            )
            await add_link(connection, wanted)
        elif there["workspace_id"] != workspace.id:
            raise UsageProblem(
                f"The code {code} belongs to workspace {there['workspace']}.",
                "run the demo on an installation of its own: `reftide up --data DIR`.",
            )


def _key_id(planted: Mapping[str, Any]) -> UUID:
    [key_id] = [each["id"] for each in planted["keys"] if each["secret"] == API_KEY]
    return UUID(str(key_id))


def _directory_keys(
    environment: Environment, workspace: Workspace, planted: Mapping[str, Any]
) -> list[list[str]]:
    """What must be published; of several keys in one list, one."""
    hashes = apikey.hashes(environment.secrets(), API_KEY)
    links = [[link_key(DEFAULT_NAMESPACE, code)] for code in CODES]
    clicks = [[click_key(workspace.id, click["token"])] for click in planted["clicks"]]
    keys = [[api_key_key(item) for item in hashes], [LIMITS_KEY]]
    return [[GENERATION_KEY], *keys, *links, *clicks]


async def _published(redis: Redis, keys: Sequence[Sequence[str]]) -> None:
    try:
        async with asyncio.timeout(_PUBLISHED_SECONDS):
            for among in keys:
                while not await redis.exists(*among):  # noqa: ASYNC110 - a server's
                    await asyncio.sleep(_LOOK_AGAIN_SECONDS)
    except TimeoutError as error:
        raise Unreachable(
            "The edges do not know the demo's links:"
            f" nobody published them within {_PUBLISHED_SECONDS:.0f} s.",
            "see with `reftide status` whether a worker is alive; `reftide worker`"
            " starts one.",
        ) from error
