"""The demo workspace: what the examples of the vendors name, so that they work as printed."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Final
from uuid import UUID

from redis.asyncio import Redis
from uuid_utils.compat import uuid7

from ingest.contracts import apikey, ids
from ingest.contracts.directory import api_key_key
from ingest.contracts.envelope import Dedupe, Envelope, Kind, Request, Target
from ingest.contracts.placement.layout import Layout
from ingest.contracts.stream import SHARDS_KEY
from scripts.environment import Environment
from scripts.errors import UsageProblem
from scripts.servers import Connection, postgres, redis_server
from scripts.services.administer.access import domains, keys
from scripts.services.administer.access.workspaces import Workspace, ensure
from scripts.services.administer.catalogue import partners, programs
from scripts.services.administer.catalogue.link_lookup import the_link
from scripts.services.administer.catalogue.links import NewLink, add_link
from scripts.services.maintain.appends import append
from scripts.sql import statements

WORKSPACE: Final = "demo"


_SITE: Final = "https://yoursite.com"

#: Affitor's example asks for program 1, Bricqs' for this campaign id.
_PROGRAMS: Final[Mapping[int, Mapping[str, Any]]] = {
    1: {"name": "Demo program", "url": _SITE},
    2: {
        "name": "Demo campaign",
        "url": "https://your-campaign.example.com",
        "program_id": UUID("550e8400-e29b-41d4-a716-446655440000"),
        "stats": True,
    },
}

_PARTNERS: Final = {
    "PARTNER123": "Affitor's partner",
    "alice": "Alice",
    "jane": "Jane",
    "user_123": "Alex",
}

#: Refport's example shows a link of this domain.
_DOMAIN: Final = "go.yoursite.com"

_LINKS: Final = (
    NewLink(code="PARTNER123", program=1, partner="PARTNER123", url=_SITE),
    NewLink(
        code="alice",
        domain=_DOMAIN,
        program=1,
        partner="alice",
        url=_SITE,
        public_id="lnk_abc",
    ),
    NewLink(code="alice123", program=1, partner="alice", url=_SITE),
    NewLink(code="ALEX2026", program=2, partner="user_123"),
    NewLink(code="jane", program=1, partner="jane", url=_SITE),
    # Not from a page: a link that is off, and one without a partner.
    NewLink(code="PAUSED10", program=1, partner="jane", url=_SITE, inactive=True),
    NewLink(code="ORPHAN", program=1, url=_SITE),
)

#: Refport's, Bricqs' and Affixo's; Affixo's page shows no whole key. Anybody knows them.
_KEYS: Final = {
    "YOUR_API_KEY": ["track"],
    "bq_live_your_key": ["read", "track", "write"],
    "sa_live_demo": ["track"],
}

#: Refport's example reports a lead for a click with this id, on the link of its domain.
_CLICK: Final = ("abc123", "alice", _DOMAIN)

_SQL: Final = statements("services/maintain/seed")
_LINKS_SQL: Final = statements("services/administer/catalogue/links")


async def plant(environment: Environment) -> Mapping[str, Any]:
    """Make what is missing; give back all of it. Raises UsageProblem and Unreachable."""
    secrets = environment.secrets()
    async with (
        postgres(environment) as connection,
        redis_server(environment) as redis,
        connection.transaction(),
    ):
        # Concurrent runs would import the click twice.
        await connection.execute(_LINKS_SQL["one_writer"])
        workspace = await ensure(connection, WORKSPACE)
        for number in _PROGRAMS:
            await _program(connection, number)
        for code, name in _PARTNERS.items():
            with suppress(UsageProblem):  # it is there
                await partners.add(connection, code, name=name, workspace=WORKSPACE)
        with suppress(UsageProblem):  # likewise
            await domains.add(connection, _DOMAIN, WORKSPACE)
        links = [await _link(connection, wanted) for wanted in _LINKS]
        return {
            "workspace": workspace.name,
            "programs": await programs.list_(connection, workspace=WORKSPACE),
            "partners": await partners.list_(
                connection, workspace=WORKSPACE, limit=100
            ),
            "links": links,
            "keys": [await _key(connection, secrets, secret) for secret in _KEYS],
            "clicks": [
                await _click(connection, redis, workspace, environment.layout())
            ],
        }


async def live_keys(environment: Environment) -> list[str]:
    """The published keys that work here. Raises Unreachable."""
    known = _published(environment)
    async with postgres(environment) as connection:
        rows = await connection.fetch(_SQL["live"], list(known))
    return [known[row["key_hash"]] for row in rows]


async def revoke_keys(environment: Environment) -> list[str]:
    """Revoke the published keys for good; those that worked. Raises Unreachable."""
    known = _published(environment)
    async with (
        postgres(environment) as connection,
        redis_server(environment) as redis,
    ):
        rows = await connection.fetch(_SQL["revoke"], list(known))
        # At once, and not when a worker has heard of it.
        await redis.delete(*map(api_key_key, known))
    return [known[row["key_hash"]] for row in rows]


def _published(environment: Environment) -> Mapping[bytes, str]:
    """The keys by their hashes."""
    secrets = environment.secrets()
    return {each: key for key in _KEYS for each in apikey.hashes(secrets, key)}


async def _program(connection: Connection, number: int) -> None:
    try:
        found = await programs.the_program(connection, number)
    except UsageProblem:
        wanted: dict[str, Any] = {
            "number": number,
            "workspace": WORKSPACE,
            **_PROGRAMS[number],
        }
        await programs.add(connection, **wanted)
    else:
        _require_ours("program", number, found)


async def _link(connection: Connection, wanted: NewLink) -> dict[str, Any]:
    try:
        link = await the_link(connection, wanted.code, wanted.domain)
    except UsageProblem:
        # The domain's owner and the program's are this workspace by now.
        link = await add_link(connection, wanted)
    _require_ours("code", wanted.code, link)
    return link


def _require_ours(what: str, name: object, row: Mapping[str, Any]) -> None:
    if row["workspace"] != WORKSPACE:
        raise UsageProblem(
            f"The {what} {name!r} belongs to workspace {row['workspace']}; the examples"
            " need it.",
            "seed an installation of its own: `reftide up --data DIR`.",
        )


async def _key(
    connection: Connection, secrets: Sequence[bytes], secret: str
) -> dict[str, Any]:
    made: dict[str, Any] = {"secret": secret, "scopes": _KEYS[secret]}
    known = await keys.known_as(connection, apikey.hashes(secrets, secret))
    if known is None:
        new = await keys.add(
            connection, secrets=secrets, name="demo", workspace=WORKSPACE, **made
        )
        known = new["id"]
    found = await keys.show(connection, known)
    return {"id": known, **made, "revoked_at": found["revoked_at"]}


async def _click(
    connection: Connection, redis: Redis, workspace: Workspace, layout: Layout
) -> dict[str, Any]:
    token, code, domain = _CLICK
    link = await the_link(connection, code, domain)
    click_id = await connection.fetchval(_SQL["imported"], workspace.id, token)
    if click_id is None:
        click_id = uuid7()
        new = (workspace.id, token, click_id, link["id"])
        await connection.execute(_SQL["import"], *new)
        click = Envelope(
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
        # Appended before the commit: if that fails, the next run appends it again, and
        # the dedupe key makes the two one event.
        await redis.set(SHARDS_KEY, layout.record, nx=True)
        known = Layout.recorded(await redis.get(SHARDS_KEY))
        await append(redis, [*known.numbers], [click])
    return {"token": token, "link": link["public_id"], "click_id": click_id}
