"""The demo workspace: what the examples of the vendors name, so that they work as printed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from redis.asyncio import Redis
from uuid_utils.compat import uuid7

from ingest.contracts import apikey, ids
from ingest.contracts.envelope import (
    Dedupe,
    Envelope,
    Kind,
    Request,
    Target,
    encode,
)
from ingest.contracts.stream import FIELD, SHARDS_KEY, events_key, shard_of
from scripts.environment import Environment
from scripts.errors import UsageProblem
from scripts.servers import Connection, postgres, redis_server, rows
from scripts.services.administer.access.workspaces import Workspace, ensure
from scripts.services.administer.catalogue.link_lookup import the_link
from scripts.services.administer.catalogue.links import Wanted, add_link
from scripts.services.parsers import public_id
from scripts.sql import statements

WORKSPACE: Final = "demo"
_ELSEWHERE: Final = "seed an installation of its own: `reftide up --data DIR`."


@dataclass(frozen=True, slots=True)
class _Program:
    name: str
    number: int
    url: str
    id: UUID | None = None
    has_stats: bool = False


_SITE: Final = "https://yoursite.com"

#: Affitor's example asks for program 1, Bricqs' for this campaign id.
_PROGRAMS: Final = (
    _Program("Demo program", 1, _SITE),
    _Program(
        "Demo campaign",
        2,
        "https://your-campaign.example.com",
        UUID("550e8400-e29b-41d4-a716-446655440000"),
        has_stats=True,
    ),
)

_PARTNERS: Final = {
    "PARTNER123": "Affitor's partner",
    "alice": "Alice",
    "jane": "Jane",
    "user_123": "Alex",
}

#: Refport's example shows a link of this domain.
_DOMAIN: Final = "go.yoursite.com"

_LINKS: Final = (
    Wanted(code="PARTNER123", program=1, partner="PARTNER123", url=_SITE),
    Wanted(
        code="alice",
        domain=_DOMAIN,
        program=1,
        partner="alice",
        url=_SITE,
        public_id="lnk_abc",
    ),
    Wanted(code="alice123", program=1, partner="alice", url=_SITE),
    Wanted(code="ALEX2026", program=2, partner="user_123"),
    Wanted(code="jane", program=1, partner="jane", url=_SITE),
    # Not from a page: a link that is off, and one that nobody stands behind.
    Wanted(code="PAUSED10", program=1, partner="jane", url=_SITE, inactive=True),
    Wanted(code="ORPHAN", program=1, url=_SITE),
)

#: Refport's, Bricqs' and Affixo's; Affixo's page shows no whole key.
_KEYS: Final = {
    "YOUR_API_KEY": ["track"],
    "bq_live_your_key": ["read", "track", "write"],
    "sa_live_demo": ["track"],
}

#: Refport's example reports a lead for a click with this id, on the link of its domain.
_CLICK: Final = ("abc123", "alice", _DOMAIN)

_SQL: Final = {
    **{
        name: statements(f"services/administer/{folder}/{name}")
        for folder, name in (
            ("access", "domains"),
            ("access", "keys"),
            ("catalogue", "links"),
            ("catalogue", "partners"),
            ("catalogue", "programs"),
        )
    },
    "seed": statements("services/maintain/seed"),
}


async def plant(environment: Environment) -> Mapping[str, Any]:
    """Make what is missing; give back all of it. Raises UsageProblem and Unreachable."""
    secrets = environment.secrets()
    async with (
        postgres(environment) as connection,
        redis_server(environment) as redis,
        connection.transaction(),
    ):
        # Two that seed at once would import the click twice.
        await connection.execute(_SQL["links"]["one_writer"])
        workspace = await ensure(connection, WORKSPACE)
        await _programs(connection, workspace)
        await _partners(connection, workspace)
        await connection.execute(_SQL["domains"]["add"], _DOMAIN, workspace.id)
        links = [await _link(connection, wanted) for wanted in _LINKS]
        keys = [
            await _key(connection, workspace, apikey.hashes(secrets, secret), secret)
            for secret in _KEYS
        ]
        click = await _click(connection, redis, workspace, environment.shards())
        return {
            "workspace": workspace.name,
            "programs": await rows(connection, _SQL["programs"]["list"], workspace.id),
            "partners": await rows(
                connection, _SQL["partners"]["list"], workspace.id, 100
            ),
            "links": links,
            "keys": keys,
            "clicks": [click],
        }


async def _programs(connection: Connection, workspace: Workspace) -> None:
    for program in _PROGRAMS:
        taken = await connection.fetchrow(_SQL["seed"]["program_owner"], program.number)
        if taken is None:
            program_id = program.id or uuid7()
            await connection.fetchval(
                _SQL["programs"]["add"],
                program_id,
                program.number,
                workspace.id,
                program.name,
                program.url,
                "last_click",
                60,
                60,
            )
            await connection.execute(
                _SQL["programs"]["set"], program_id, *[None] * 6, program.has_stats
            )
        elif taken["id"] != workspace.id:
            raise UsageProblem(
                f"Program {program.number} belongs to workspace {taken['name']}; the"
                " examples need this number.",
                _ELSEWHERE,
            )
    await connection.execute(_SQL["programs"]["pass"])


async def _partners(connection: Connection, workspace: Workspace) -> None:
    for code, name in _PARTNERS.items():
        await connection.fetchval(
            _SQL["partners"]["add"],
            uuid7(),
            workspace.id,
            public_id("prt_"),
            code,
            name,
            None,
        )


async def _link(connection: Connection, wanted: Wanted) -> dict[str, Any]:
    try:
        link = await the_link(connection, wanted.code, wanted.domain)
    except UsageProblem:
        # The domain's owner and the program's are this workspace by now.
        await add_link(connection, wanted)
        link = await the_link(connection, wanted.code, wanted.domain)
    if link["workspace"] != WORKSPACE:
        raise UsageProblem(
            f"The code {wanted.code!r} belongs to workspace {link['workspace']}; the"
            " examples need it.",
            _ELSEWHERE,
        )
    return link


async def _key(
    connection: Connection, workspace: Workspace, hashes: Sequence[bytes], secret: str
) -> dict[str, Any]:
    scopes = _KEYS[secret]
    known = await connection.fetchval(_SQL["keys"]["known"], hashes)
    if known is None:
        known = await connection.fetchval(
            _SQL["keys"]["add"],
            uuid7(),
            workspace.id,
            "demo",
            hashes[0],
            secret[-4:],
            scopes,
        )
    return {"id": known, "secret": secret, "scopes": scopes}


async def _click(
    connection: Connection, redis: Redis, workspace: Workspace, shards: int
) -> dict[str, Any]:
    token, code, domain = _CLICK
    link = await the_link(connection, code, domain)
    click_id = await connection.fetchval(_SQL["seed"]["imported"], workspace.id, token)
    if click_id is None:
        click_id = uuid7()
        await connection.execute(
            _SQL["seed"]["import"], workspace.id, token, click_id, link["id"]
        )
        # Appended before the commit: if that fails, the next run appends it again, and
        # the dedupe key makes the two one event.
        await _append(redis, _envelope(click_id, workspace, link, token), shards)
    return {"token": token, "link": link["public_id"], "click_id": click_id}


def _envelope(
    click_id: UUID, workspace: Workspace, link: dict[str, Any], token: str
) -> Envelope:
    return Envelope(
        id=click_id,
        kind=Kind.CLICK,
        request=Request(
            dialect="import",
            at=ids.millis(click_id),
            workspace_id=workspace.id,
            dedupe=Dedupe.of("import", token),
        ),
        target=Target(link_id=link["id"]),
    )


async def _append(redis: Redis, envelope: Envelope, shards: int) -> None:
    await redis.set(SHARDS_KEY, shards, nx=True)
    count = int(await redis.get(SHARDS_KEY))
    await redis.xadd(
        events_key(shard_of(envelope.id, count)), {FIELD: encode(envelope)}
    )
