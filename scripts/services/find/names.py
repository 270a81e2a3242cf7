"""Finds events by what clients call them: customers, sessions, invoices, keys of theirs."""

import binascii
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, NamedTuple
from uuid import UUID

import orjson

from ingest.contracts.encoding.envelopes import NewerVersion, Undecodable, decode
from ingest.contracts.envelope import Dedupe, Envelope, own_click, own_click_name
from ingest.contracts.stream import split
from ingest.dialects import DIALECTS
from ingest.dialects.spec.routes import Endpoint
from ingest.redirect.dialects import REDIRECTS
from scripts.servers import Connection
from scripts.services.find.events import EventFilter, page
from scripts.services.find.people import traces_of
from scripts.sql import statements
from workers.erasure.begin import find_people

_SQL: Final = statements("services/find/names")

#: How many events one name may stand for.
MOST: Final = 50
#: So many entries of quarantine are looked through, the latest ones.
_QUARANTINED: Final = 20_000
#: A request with one idempotency key makes two events at most: a lead and its sale.
_PLACES: Final = ((), ("1",))


class Signs(NamedTuple):
    """What tells an envelope from others: it holds one of the needles, and fits."""

    needles: Sequence[bytes]
    fits: Callable[[Envelope], bool]

    def carried(self, raw: bytes) -> Iterator[tuple[int, UUID]]:
        """Which events of an entry have the signs, and their ids."""
        # Decoding a hundred thousand envelopes takes long; almost all lack the needles.
        if not any(needle in raw for needle in self.needles):
            return
        for index, event in enumerate(split(raw)):
            try:
                envelope = decode(event)
            except (Undecodable, NewerVersion):
                continue
            if self.fits(envelope):
                yield index, envelope.id


class Name(NamedTuple):
    """A text that may be a client's name of something, in a workspace or in any."""

    text: str
    workspace_id: UUID | None
    #: Under which its event may be known: as an invoice, or as an idempotency key.
    invoices: Sequence[Dedupe]
    requests: Sequence[Dedupe]

    def signs(self) -> Signs:
        """What tells envelopes that have the name."""
        keys = {*self.invoices, *self.requests}
        texts = {self.text, own_click_name(self.text)}
        quoted = map(orjson.dumps, texts)
        encoded = (binascii.b2a_base64(key.key, newline=False) for key in keys)

        def fits(envelope: Envelope) -> bool:
            click, customer = envelope.click, envelope.customer
            said = {click.session, click.token, click.foreign_id, customer.external_id}
            return not texts.isdisjoint(said) or envelope.request.dedupe in keys

        return Signs([*quoted, *encoded], fits)


async def name_of(connection: Connection, text: str, workspace_id: UUID | None) -> Name:
    """A text with the dedupe keys that it may have made."""
    invoices = _and_tests([Dedupe.of("sale", *vendor, text) for vendor in _VENDORS])
    owners = await connection.fetch(_SQL["keys"], workspace_id)
    requests = [own_click(text)]
    requests += [
        Dedupe.of(scope, "key", owner["key_hash"].hex(), text, *place)
        for owner in owners
        for scope in _SCOPES
        for place in _PLACES
    ]
    return Name(text, workspace_id, invoices, _and_tests(requests))


async def recorded(connection: Connection, name: Name) -> dict[UUID, str]:
    """Recorded events that have the name, and what it is to each of them."""
    owner, text = name.workspace_id, name.text
    found: dict[UUID, str] = {}
    for kind, arguments in (
        ("click id", ("tokens", owner, text)),
        ("invoice", ("claims", owner, *_columns(name.invoices))),
        ("idempotency key", ("claims", owner, *_columns(name.requests))),
        ("session", ("sessions", owner, text, MOST)),
    ):
        statement, *values = arguments
        rows = await connection.fetch(_SQL[str(statement)], *values)
        found = {**{row["id"]: kind for row in rows}, **found}
    for person in await find_people(connection, text, owner):
        people = await traces_of(connection, person)
        now = await connection.fetchval("select now()")
        latest = await page(connection, EventFilter(owner, people=people), MOST, now)
        found = {**{event["id"]: "customer" for event in latest}, **found}
    return found


async def quarantined(connection: Connection, name: Name) -> dict[UUID, str]:
    """The same of events that are in quarantine, of the latest ones there."""
    signs = name.signs()
    rows = await connection.fetch(
        _SQL["quarantined"], name.workspace_id, signs.needles, _QUARANTINED
    )
    return {
        event_id: "quarantine"
        for row in rows
        for _, event_id in signs.carried(row["payload"])
    }


def _and_tests(keys: Sequence[Dedupe]) -> list[Dedupe]:
    return [*keys, *(Dedupe(f"test:{key.scope}", key.key) for key in keys)]


def _columns(keys: Sequence[Dedupe]) -> tuple[list[Any], list[Any]]:
    return [key.scope for key in keys], [key.key for key in keys]


#: What comes before a vendor's own id in the dedupe key of its sales; Dub's have nothing.
_VENDORS: Final = (
    (),
    ("affitor",),
    ("affixo",),
    ("refport",),
    ("tracker", "invoice"),
)

#: The scopes of idempotency keys: a request's dialect and path.
_SCOPES: Final = [
    f"{dialect.name}:{endpoint.path}"
    for dialect in (*DIALECTS, *REDIRECTS)
    for endpoint in dialect.endpoints
    if isinstance(endpoint, Endpoint)
]
