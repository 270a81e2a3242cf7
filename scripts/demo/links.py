"""The links that the demo clicks on: made once, found again by every later run."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
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
from scripts.services.administer.access import keys
from scripts.services.administer.access.workspaces import Workspace, named
from scripts.services.administer.catalogue.links import NewLink, add_link
from scripts.services.maintain.seed import WORKSPACE, live_keys, plant
from scripts.sql import statements

CODES: Final = tuple(f"demo-{number:03}" for number in range(1, 41))
_PROGRAM: Final = 1
_PARTNERS: Final = ("alice", "jane", "PARTNER123")

_PUBLISHED_SECONDS: Final = 15.0
_LOOK_AGAIN_SECONDS: Final = 0.1

_SQL: Final = {
    "links": statements("services/administer/catalogue/links"),
    "demo": statements("demo/demo"),
}


@asynccontextmanager
async def furnished(environment: Environment) -> AsyncIterator[str]:
    """Make what is missing; the block begins when the edges know it.

    It has a key of its own that may say addresses. Raises as `plant` does.
    """
    if API_KEY not in await live_keys(environment):
        raise UsageProblem(
            "The demo needs the demo workspace, whose API keys are public, and these"
            " servers do not have it.",
            "run the demo on `reftide up --data DIR` with an empty DIR; or, where nobody"
            " sends real events, `reftide seed` first.",
        )
    planted = await plant(environment)
    secrets = environment.secrets()
    async with postgres(environment) as connection, connection.transaction():
        workspace = await named(connection, WORKSPACE)
        await _add_links(connection, workspace)
        await connection.execute(_SQL["demo"]["unlimited"], _key_id(planted))
        forward = await keys.add(
            connection,
            secrets=secrets,
            secret=None,
            scopes=["forward"],
            name="a run of the demo",
            workspace=WORKSPACE,
        )
    try:
        wanted = _directory_keys(secrets, workspace, planted, forward["secret"])
        async with redis_server(environment) as redis:
            await _published(redis, wanted)
        yield forward["secret"]
    finally:
        async with postgres(environment) as connection:
            await keys.revoke(connection, forward["id"])


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
    secrets: Sequence[bytes],
    workspace: Workspace,
    planted: Mapping[str, Any],
    forward: str,
) -> list[list[str]]:
    """What must be published; of several keys in one list, one."""
    links = [[link_key(DEFAULT_NAMESPACE, code)] for code in CODES]
    clicks = [[click_key(workspace.id, click["token"])] for click in planted["clicks"]]
    known = [
        [api_key_key(item) for item in apikey.hashes(secrets, key)]
        for key in (API_KEY, forward)
    ]
    return [[GENERATION_KEY], [LIMITS_KEY], *known, *links, *clicks]


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
