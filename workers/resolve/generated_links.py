"""Creates links that edges generated.

An edge answers with a new code at once, and the link arrives through the stream. Events that
name the code may be read first, by any worker. So each of these events suffices to create the
link, and later ones find it.
"""

import secrets
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from string import ascii_letters, digits
from typing import Final, NamedTuple
from uuid import UUID

from ingest.contracts.envelope import Envelope
from ingest.contracts.telemetry import Log
from workers.model.rows import DatabaseRecord, timestamp
from workers.postgres.database import Connection, Pool, columns, transaction
from workers.postgres.sql import statements

_SQL: Final = statements("resolve/generated_links")
_LOG: Final = Log()

_NAME_CHARS: Final = 255
_PUBLIC_CHARS: Final = 12


class _WantedLink(NamedTuple):
    """A link as envelopes name it; sorted in the order of creation."""

    at: datetime
    code: str
    partner_code: str
    program_id: UUID
    workspace_id: UUID


#: What exists of a wanted link: a row of the statement `generated_find`.
_Found = tuple[_WantedLink, DatabaseRecord]


async def generate(
    pool: Pool, envelopes: Iterable[Envelope], new_id: Callable[[], UUID]
) -> None:
    """Create the missing links and partners that these envelopes name.

    A transaction of its own, if there are such envelopes. Envelopes with an unknown program
    or without a key of its workspace are left for `resolve` to refuse.
    """
    naming = [
        envelope
        for envelope in envelopes
        if envelope.target.partner_code and envelope.target.link_id is None
    ]
    if not naming:
        return
    async with transaction(pool) as connection:
        wanted = _wanted(naming, await _key_owners(connection, naming))
        places = await _find(connection, wanted)
        if not all(found["is_made"] for _, found in places):
            await _create(connection, wanted, new_id)
            places = await _find(connection, wanted)
    for link, found in places:
        if not found["is_own"]:
            _LOG.warning(
                "link.contested",
                code=link.code,
                partner=link.partner_code,
                holder=found["holder_id"],
            )


async def _key_owners(
    connection: Connection, envelopes: Iterable[Envelope]
) -> dict[bytes, UUID]:
    """The workspaces of keys that an edge could not check."""
    hashes = [each for one in envelopes for each in one.request.api_key_hashes]
    if not hashes:
        return {}
    found = await connection.fetch(_SQL["keys_that_generate"], hashes)
    return {record["key_hash"]: record["workspace_id"] for record in found}


def _wanted(
    envelopes: Iterable[Envelope], owners: dict[bytes, UUID]
) -> Sequence[_WantedLink]:
    """Every link once, with the time of the earliest event that names it."""
    least: dict[tuple[object, ...], _WantedLink] = {}
    for envelope in envelopes:
        if wanted := _wanted_link(envelope, owners):
            least[wanted[1:]] = min(wanted, least.get(wanted[1:], wanted))
    return sorted(least.values())


def _wanted_link(envelope: Envelope, owners: dict[bytes, UUID]) -> _WantedLink | None:
    """The link that an event generates; None if the event is not authorised to."""
    workspace_id = envelope.request.workspace_id
    if envelope.request.api_key_hashes:
        known = (owners.get(key_hash) for key_hash in envelope.request.api_key_hashes)
        workspace_id = next((owner for owner in known if owner), None)
    code, partner = _name(envelope.target.code), _name(envelope.target.partner_code)
    if envelope.request.is_test or not (workspace_id and envelope.target.program_id):
        return None
    if code is None or partner is None:
        return None
    at = timestamp(envelope.request.at)
    return _WantedLink(
        at=at,
        code=code,
        partner_code=partner,
        program_id=envelope.target.program_id,
        workspace_id=workspace_id,
    )


def _name(value: str | None) -> str | None:
    """A name within the edges' limit; longer ones may not fit a PostgreSQL index."""
    return value if value and len(value) <= _NAME_CHARS else None


async def _find(connection: Connection, wanted: Sequence[_WantedLink]) -> list[_Found]:
    """What exists of each; links of unknown programs are left out."""
    if not wanted:
        return []
    found = await connection.fetch(_SQL["generated_find"], *columns(wanted))
    return [(wanted[record["place"] - 1], record) for record in found]


async def _create(
    connection: Connection, wanted: Sequence[_WantedLink], new_id: Callable[[], UUID]
) -> None:
    """Create links under the lock of codes, which operators' commands take too.

    Links are locked before enrolments, as in `write`.
    """
    await connection.execute(_SQL["codes_lock"])
    places = await _find(connection, wanted)
    earlier = [(row["holder_id"], link.at) for link, row in places if row["is_earlier"]]
    if earlier:
        await connection.execute(_SQL["generated_since"], *columns(earlier))
    made, aliases = _plan(places, new_id)
    if made:
        await _add(connection, made, new_id)
    if aliases:
        pairs = columns(aliases.items())
        await connection.execute(_SQL["generated_alias"], *pairs)
    programs = {link.program_id for link, found in places if not found["has_stats"]}
    if programs:
        await connection.execute(_SQL["programs_with_stats"], sorted(programs))


def _plan(
    places: Sequence[_Found], new_id: Callable[[], UUID]
) -> tuple[dict[UUID, _WantedLink], dict[str, UUID]]:
    """Links to make, by their new ids, and codes that become aliases of a link.

    A partner has one link in a program: of several codes the earliest makes it. A code
    that two partners were given is the earlier one's.
    """
    links: dict[UUID, _WantedLink] = {}
    aliases: dict[str, UUID] = {}
    owned: dict[tuple[UUID, str], UUID] = {}
    taken: set[str] = set()
    for wanted, found in places:
        if found["holder_id"] is not None or wanted.code in taken:
            continue
        taken.add(wanted.code)
        owner = (wanted.program_id, wanted.partner_code)
        link_id = found["oldest_id"] or owned.get(owner)
        if link_id is not None:
            aliases[wanted.code] = link_id
        else:
            link_id = owned[owner] = new_id()
            links[link_id] = wanted
    return links, aliases


async def _add(
    connection: Connection, links: dict[UUID, _WantedLink], new_id: Callable[[], UUID]
) -> None:
    partners = sorted(
        {(item.workspace_id, item.partner_code) for item in links.values()}
    )
    await connection.execute(
        _SQL["partners_enlist"],
        [new_id() for _ in partners],
        [_public_id("prt_") for _ in partners],
        *columns(partners),
    )
    await connection.execute(
        _SQL["generated_add"],
        list(links),
        [_public_id("lnk_") for _ in links],
        *columns(list(links.values())),
    )


def _public_id(prefix: str) -> str:
    """An id for vendors' answers: 71 random bits, as in ids that operators create."""
    chosen = (secrets.choice(digits + ascii_letters) for _ in range(_PUBLIC_CHARS))
    return prefix + "".join(chosen)
