"""The links that the demo clicks on: made once, found again by every later run."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final
from uuid import UUID

from redis.asyncio import Redis

from ingest.contracts import apikey
from ingest.contracts.directory import (
    DEFAULT_NAMESPACE,
    GENERATION_KEY,
    LIMITS_KEY,
    api_key_key,
    click_key,
    link_key,
)
from scripts.demo.traffic import API_KEY
from scripts.environment import Environment
from scripts.errors import Unreachable, UsageProblem
from scripts.servers import Connection, postgres, redis_server
from scripts.services.administer.access.workspaces import Workspace, named
from scripts.services.administer.catalogue.links import NewLink, add_link
from scripts.services.maintain.seed import WORKSPACE, plant
from scripts.sql import statements

CODES: Final = tuple(f"demo-{number:03}" for number in range(1, 41))
_PROGRAM: Final = 1
_PARTNERS: Final = ("alice", "jane", "PARTNER123")

_PUBLISHED_SECONDS: Final = 15.0
_LOOK_AGAIN_SECONDS: Final = 0.1

_SQL: Final = {
    "links": statements("services/administer/catalogue/links"),
    "workspaces": statements("services/administer/access/workspaces"),
    "demo": statements("demo/demo"),
}


async def furnish(environment: Environment) -> None:
    """Make what is missing, and return when the edges know it. Raises as `plant` does."""
    await _require_workspace(environment)
    planted = await plant(environment)
    async with postgres(environment) as connection, connection.transaction():
        workspace = await named(connection, WORKSPACE)
        await _add_links(connection, workspace)
        await connection.execute(_SQL["demo"]["unlimited"], _key_id(planted))
    keys = _directory_keys(environment, workspace, planted)
    async with redis_server(environment) as redis:
        await _published(redis, keys)


async def _require_workspace(environment: Environment) -> None:
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


async def _add_links(connection: Connection, workspace: Workspace) -> None:
    # Two demos at once would make the links twice.
    await connection.execute(_SQL["links"]["one_writer"])
    for number, code in enumerate(CODES):
        there = await connection.fetchrow(
            _SQL["links"]["named"], DEFAULT_NAMESPACE, code
        )
        if there is None:
            partner = _PARTNERS[number % len(_PARTNERS)]
            wanted = NewLink(code=code, program=_PROGRAM, partner=partner)
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
