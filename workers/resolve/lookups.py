"""Looks up the names in a batch: one query for each kind of name."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple
from uuid import UUID

from ingest.contracts.clickid import NO_LINK
from ingest.contracts.directory import (
    DEFAULT_WINDOW_DAYS,
    KEYS_NAMESPACE,
    domain_of,
    workspace_namespace,
)
from ingest.contracts.envelope import CLICK, Envelope, own_click_key
from workers.postgres.database import Connection, columns
from workers.postgres.sql import statements

_SQL: Final = statements("resolve/lookups")


class KnownLink(NamedTuple):
    """The columns of a link that resolving needs."""

    id: UUID
    workspace_id: UUID
    program_id: UUID | None
    partner_id: UUID | None
    is_active: bool
    attribution_window_days: int


class KnownKey(NamedTuple):
    """An API key that is not revoked."""

    id: UUID
    workspace_id: UUID
    scopes: list[str]


@dataclass(slots=True)
class KnownNames:
    """What exists of the names in a batch."""

    links: dict[UUID, KnownLink] = field(default_factory=dict)
    codes: dict[tuple[str, str], KnownLink] = field(default_factory=dict)
    domains: set[str] = field(default_factory=set)
    keys: dict[bytes, KnownKey] = field(default_factory=dict)
    #: By public number: the program's id and its workspace's.
    programs: dict[int, tuple[UUID, UUID]] = field(default_factory=dict)
    #: By workspace and another vendor's click id: the click and its link.
    clicks: dict[tuple[UUID, str], tuple[UUID, UUID]] = field(default_factory=dict)
    #: By workspace and key: the ids of their clients' own that recorded clicks have.
    own_clicks: set[tuple[UUID, bytes]] = field(default_factory=set)
    #: The links of recorded clicks, for leads that name neither link nor workspace.
    recorded: dict[UUID, KnownLink] = field(default_factory=dict)
    #: A cache of `resolve`: the resolutions of clicks by link, workspace and key, as numbers.
    places: dict[tuple[int, ...], Any] = field(default_factory=dict)


async def look_up(connection: Connection, envelopes: Sequence[Envelope]) -> KnownNames:
    """Everything that these envelopes name and that exists."""
    known = KnownNames()
    # By number: UUID.__hash__ is Python code.
    own = (envelope.target.link_id for envelope in envelopes)
    roots = (envelope.click.root_link_id for envelope in envelopes)
    named = {each.int: each for each in (*own, *roots) if each}
    for row in await _fetch(connection, "links_by_id", list(named.values())):
        known.links[row["link_id"]] = _link(row)
    # Most clicks are resolved by their link alone.
    if rest := [envelope for envelope in envelopes if not _names_only_link(envelope)]:
        await _look_up_more(connection, rest, known)
    return known


async def _look_up_more(
    connection: Connection, envelopes: Sequence[Envelope], known: KnownNames
) -> None:
    hashes = [each for one in envelopes for each in one.request.api_key_hashes]
    for row in await _fetch(connection, "keys_by_hash", hashes):
        known.keys[row["key_hash"]] = KnownKey(
            row["id"], row["workspace_id"], row["scopes"]
        )
    await _look_up_codes(connection, envelopes, known)
    await _look_up_clicks(connection, envelopes, known)
    said = (envelope.target.program_number for envelope in envelopes)
    numbers = [number for number in said if number is not None]
    for row in await _fetch(connection, "programs_by_number", numbers):
        known.programs[row["number"]] = (row["id"], row["workspace_id"])
    placeless = [e.click.id for e in envelopes if _names_only_click(e)]
    for row in await _fetch(connection, "clicks_recorded", placeless):
        known.recorded[row["click_id"]] = _link(row)


def namespaces(envelope: Envelope, workspace_id: UUID | None) -> list[str]:
    """The namespaces to search for a code, best first."""
    own = [workspace_namespace(workspace_id)] if workspace_id else []
    return [
        namespace
        for named in envelope.target.namespaces
        for namespace in (own if named == KEYS_NAMESPACE else [named])
    ]


def workspaces(envelope: Envelope, known: KnownNames) -> list[UUID | None]:
    """The workspaces that may have authorised an event."""
    keys = (known.keys.get(key_hash) for key_hash in envelope.request.api_key_hashes)
    return [envelope.request.workspace_id, *(key.workspace_id for key in keys if key)]


def _names_only_link(envelope: Envelope) -> bool:
    return (
        envelope.kind is CLICK
        and envelope.target.code is None
        and not envelope.request.api_key_hashes
        and not envelope.request.is_test
    )


def _names_only_click(envelope: Envelope) -> bool:
    return (
        envelope.kind is not CLICK
        and envelope.click.id is not None
        and envelope.target.link_id in {None, NO_LINK}
        and envelope.request.workspace_id is None
        and not envelope.request.api_key_hashes
    )


async def _look_up_codes(
    connection: Connection, envelopes: Iterable[Envelope], known: KnownNames
) -> None:
    named = sorted(
        {
            (namespace, envelope.target.code)
            for envelope in envelopes
            for workspace_id in workspaces(envelope, known)
            for namespace in namespaces(envelope, workspace_id)
            if envelope.target.code
        }
    )
    for row in await _fetch(connection, "links_by_code", *columns(named)):
        known.codes[row["namespace"], row["code"]] = _link(row)
    domains = [domain for namespace, _ in named if (domain := domain_of(namespace))]
    for row in await _fetch(connection, "domains_known", domains):
        known.domains.add(row["domain"])


async def _look_up_clicks(
    connection: Connection, envelopes: Iterable[Envelope], known: KnownNames
) -> None:
    named = sorted(
        {
            (workspace_id, envelope.click.foreign_id)
            for envelope in envelopes
            for workspace_id in workspaces(envelope, known)
            if workspace_id and envelope.click.foreign_id
        }
    )
    for row in await _fetch(connection, "clicks_by_token", *columns(named)):
        place = (row["workspace_id"], row["token"])
        known.clicks[place] = (row["click_id"], row["link_id"])
        known.links[row["link_id"]] = _link(row)
    keys = [(owner, key) for owner, name in named if (key := own_click_key(name))]
    for row in await _fetch(connection, "clicks_by_own_id", *columns(keys)):
        known.own_clicks.add((row["workspace_id"], row["key"]))


async def _fetch(
    connection: Connection, statement: str, *asked: Sequence[object]
) -> Sequence[Any]:
    """The rows for these columns, if there is anything in them."""
    return await connection.fetch(_SQL[statement], *asked) if any(asked) else ()


def _link(row: Any) -> KnownLink:
    return KnownLink(
        id=row["link_id"],
        workspace_id=row["workspace_id"],
        program_id=row["program_id"],
        partner_id=row["partner_id"],
        is_active=row["is_active"],
        attribution_window_days=row["attribution_window_days"] or DEFAULT_WINDOW_DAYS,
    )
