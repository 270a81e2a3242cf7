"""Resolving: from what an envelope names to what Postgres knows. Imported by the pipeline.

Where the edge asked the directory, most is settled and only checked; where it could not,
the worker looks up, authorises, and says which events nobody can place. One query per kind
of name and batch.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple
from uuid import UUID

from ingest.contracts import ids
from ingest.contracts.directory import DEFAULT_NAMESPACE
from ingest.contracts.envelope import Envelope, Kind
from workers.database import Connection
from workers.quarantine import Reason
from workers.sql import statements

_SQL: Final = statements("resolve")
_AHEAD_MS: Final = 5 * 60 * 1000
_DAY_MS: Final = 24 * 3600 * 1000
_NOBODY: Final = UUID(int=0)


class Unresolvable(Exception):
    """Nobody can place this event; `reason` says why."""

    def __init__(self, reason: Reason, detail: str) -> None:
        """`detail` is for the operator who reads the quarantine."""
        super().__init__(reason, detail)
        self.reason: Reason = reason
        self.detail = detail


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolution:
    """Where an event belongs. What a lead is attributed to is decided when it is written."""

    workspace_id: UUID
    link_id: UUID | None = None
    program_id: UUID | None = None
    partner_id: UUID | None = None
    click_id: UUID | None = None
    asked_program_id: UUID | None = None
    api_key_id: UUID | None = None


class _Link(NamedTuple):
    id: UUID
    workspace_id: UUID
    program_id: UUID | None
    partner_id: UUID | None
    is_active: bool
    attribution_window_days: int


class _Key(NamedTuple):
    id: UUID
    workspace_id: UUID
    scopes: list[str]


@dataclass(slots=True)
class Known:
    """What Postgres knows of the names in a batch."""

    links: dict[UUID, _Link] = field(default_factory=dict)
    codes: dict[tuple[str, str], _Link] = field(default_factory=dict)
    domains: set[str] = field(default_factory=set)
    keys: dict[bytes, _Key] = field(default_factory=dict)
    programs: dict[int, tuple[UUID, UUID]] = field(default_factory=dict)
    clicks: dict[tuple[UUID, str], tuple[UUID, UUID]] = field(default_factory=dict)


async def look_up(connection: Connection, envelopes: Sequence[Envelope]) -> Known:
    """Everything that these envelopes name, as far as it exists."""
    known = Known()
    await _look_up_links(connection, envelopes, known)
    await _look_up_codes(connection, envelopes, known)
    hashes = [item for envelope in envelopes for item in envelope.api_key_hashes]
    for row in await _fetch(connection, "keys_by_hash", hashes):
        known.keys[row["key_hash"]] = _Key(
            row["id"], row["workspace_id"], row["scopes"]
        )
    numbers = [e.program_number for e in envelopes if e.program_number is not None]
    for row in await _fetch(connection, "programs_by_number", numbers):
        known.programs[row["number"]] = (row["id"], row["workspace_id"])
    tokens = [e.foreign_click for e in envelopes if e.foreign_click]
    for row in await _fetch(connection, "clicks_by_token", tokens):
        place = (row["workspace_id"], row["token"])
        known.clicks[place] = (row["click_id"], row["link_id"])
        known.links[row["link_id"]] = _link(row)
    return known


def resolve(envelope: Envelope, known: Known, now_ms: int) -> Resolution:
    """Where one event belongs; raises Unresolvable."""
    if ids.millis(envelope.id) > now_ms + _AHEAD_MS:
        raise Unresolvable("future_id", "minted more than five minutes ahead")
    if envelope.is_test:
        return _resolve_test(envelope, known)
    if envelope.kind is Kind.CLICK:
        return _resolve_click(envelope, known)
    return _resolve_lead(envelope, known)


def _resolve_test(envelope: Envelope, known: Known) -> Resolution:
    if envelope.workspace_id and envelope.program_id:
        return Resolution(
            workspace_id=envelope.workspace_id, program_id=envelope.program_id
        )
    number = envelope.program_number
    if number is None or number not in known.programs:
        raise Unresolvable("unknown_program", f"program {number}")
    program_id, workspace_id = known.programs[number]
    return Resolution(workspace_id=workspace_id, program_id=program_id)


def _resolve_click(envelope: Envelope, known: Known) -> Resolution:
    link = _named_link(envelope, known)
    # A click id that was issued without a directory names no link to compare.
    root_link = (
        known.links.get(envelope.root_link_id) if envelope.root_link_id else link
    )
    is_same = root_link is not None and root_link.workspace_id == link.workspace_id
    return Resolution(
        workspace_id=link.workspace_id,
        link_id=link.id,
        program_id=link.program_id,
        partner_id=link.partner_id,
        click_id=envelope.root_id if is_same else None,
    )


def _named_link(envelope: Envelope, known: Known) -> _Link:
    if envelope.link_id is not None:
        if link := known.links.get(envelope.link_id):
            return link
        raise Unresolvable("unknown_link", f"link {envelope.link_id}")
    code = envelope.code or ""
    for namespace in envelope.namespaces:
        link = known.codes.get((namespace, code))
        if link is not None and not link.is_active:
            raise Unresolvable("inactive_link", f"code {code}")
        if link is not None:
            return link
        if namespace != DEFAULT_NAMESPACE and namespace[2:] in known.domains:
            break
    raise Unresolvable("unknown_link", f"code {code}")


def _resolve_lead(envelope: Envelope, known: Known) -> Resolution:
    workspace_id, api_key_id = _authorised(envelope, known)
    click_id, link = _named_click(envelope, known, workspace_id)
    if workspace_id is None and link is not None:
        workspace_id = link.workspace_id
    if workspace_id is None or (link and link.workspace_id != workspace_id):
        raise Unresolvable("unknown_click", "the click is not this workspace's")
    if link and click_id and envelope.workspace_id is None:
        age_ms = envelope.at - ids.millis(click_id)
        if age_ms > link.attribution_window_days * _DAY_MS:
            raise Unresolvable("expired", f"the click is {age_ms // _DAY_MS} days old")
    return Resolution(
        workspace_id=workspace_id,
        click_id=click_id,
        asked_program_id=link.program_id if link else None,
        api_key_id=api_key_id,
    )


def _authorised(envelope: Envelope, known: Known) -> tuple[UUID | None, UUID | None]:
    """The workspace and key that vouch for an event, once the key is checked."""
    if not envelope.api_key_hashes:
        return envelope.workspace_id, envelope.api_key_id
    for key_hash in envelope.api_key_hashes:
        key = known.keys.get(key_hash)
        if key is not None and {"track", "*"} & set(key.scopes):
            return key.workspace_id, key.id
    raise Unresolvable("unauthorised", "no live API key with the scope to track")


def _named_click(
    envelope: Envelope, known: Known, workspace_id: UUID | None
) -> tuple[UUID | None, _Link | None]:
    click_id, link_id = envelope.click_id, envelope.link_id
    if envelope.foreign_click and workspace_id:
        place = (workspace_id, envelope.foreign_click)
        if place not in known.clicks:
            raise Unresolvable("unknown_click", "nobody imported this click id")
        click_id, link_id = known.clicks[place]
    if link_id is None or link_id == _NOBODY:
        return click_id, None
    if link_id not in known.links:
        raise Unresolvable("unknown_click", f"link {link_id}")
    return click_id, known.links[link_id]


async def _look_up_links(
    connection: Connection, envelopes: Iterable[Envelope], known: Known
) -> None:
    named = {
        link_id
        for envelope in envelopes
        for link_id in (envelope.link_id, envelope.root_link_id)
        if link_id
    }
    for row in await _fetch(connection, "links_by_id", sorted(named)):
        known.links[row["link_id"]] = _link(row)


async def _look_up_codes(
    connection: Connection, envelopes: Iterable[Envelope], known: Known
) -> None:
    named = sorted(
        {
            (namespace, envelope.code)
            for envelope in envelopes
            for namespace in envelope.namespaces
            if envelope.code
        }
    )
    if not named:
        return
    namespaces, codes = [list(part) for part in zip(*named, strict=True)]
    for row in await connection.fetch(_SQL["links_by_code"], namespaces, codes):
        known.codes[row["namespace"], row["code"]] = _link(row)
    domains = [namespace[2:] for namespace in namespaces if namespace[:2] == "d:"]
    for row in await _fetch(connection, "domains_known", domains):
        known.domains.add(row["domain"])


async def _fetch(
    connection: Connection, statement: str, values: Sequence[object]
) -> Sequence[Any]:
    return await connection.fetch(_SQL[statement], values) if values else ()


def _link(row: Any) -> _Link:
    return _Link(
        row["link_id"],
        row["workspace_id"],
        row["program_id"],
        row["partner_id"],
        row["is_active"],
        row["attribution_window_days"],
    )
