"""Finds a person's data, and begins or extends an erasure.

Raises asyncpg's errors.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple
from uuid import UUID

import orjson

from ingest.contracts.envelope import SALE_SCOPE, Dedupe
from ingest.contracts.marks import claim_key
from workers.erasure.pseudonyms import Pseudonymizer, hashes_of
from workers.erasure.suppression import load_pseudonymizer
from workers.model.rows import DatabaseRecord
from workers.postgres.database import Connection, columns
from workers.postgres.email_key import load_email_key
from workers.postgres.sql import statements

_SQL: Final = statements("erasure/erasure")


class Person(NamedTuple):
    """A customer; `customer_id` is None if nothing is recorded yet."""

    workspace_id: UUID
    customer_id: UUID | None
    external_id: str | None
    #: Recorded under a pseudonym already.
    is_erased: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A person's data: customers, first clicks, visits (link, session), events, claims."""

    person: Person
    customers: Sequence[UUID] = ()
    clicks: Sequence[UUID] = ()
    visits: Sequence[tuple[UUID, str]] = ()
    events: Sequence[UUID] = ()
    claims: Sequence[tuple[UUID, str, bytes]] = ()

    def counts(self) -> dict[str, int]:
        """Figures shown to the operator."""
        return {
            "events": len(self.events),
            "clicks": len(self.clicks),
            "claims": len(self.claims),
        }


async def find_people(
    connection: Connection, name: str, workspace_id: UUID | None
) -> list[Person]:
    """The persons with this external id (also an erased one), customer id or e-mail address.

    A visitor who became a customer counts as that customer.
    """
    found = await connection.fetch(_SQL["customers_called"], name, workspace_id)
    if found:
        return [Person(row["workspace_id"], row["id"], name) for row in found]
    if known := await _erased(connection, name, workspace_id):
        return known
    row = await _identified(connection, name)
    if row is None:
        return await _with_email(connection, name, workspace_id)
    if workspace_id not in {None, row["workspace_id"]}:
        return []
    is_erased = row["erased_at"] is not None
    return [
        Person(row["workspace_id"], row["id"], row["external_id"], is_erased=is_erased)
    ]


async def find(connection: Connection, person: Person) -> Subject:
    """A person's data as recorded now."""
    owner, customer_id = person.workspace_id, person.customer_id
    if customer_id is None:
        return Subject(person=person)
    clicks = await _ids(connection, "clicks_of", customer_id)
    visitors = await _ids(connection, "visitors_of", customer_id, clicks)
    customers = sorted({customer_id, *visitors})
    return await _filled(
        connection, Subject(person=person, customers=customers, clicks=clicks), owner
    )


async def _filled(connection: Connection, subject: Subject, owner: UUID) -> Subject:
    """Add the visits, events and claims of its customers and clicks."""
    rows = await connection.fetch(_SQL["visits_of"], subject.clicks, owner)
    visits = [(row["link_id"], row["session"]) for row in rows]
    events = await _ids(
        connection,
        "events_of",
        subject.customers,
        subject.clicks,
        owner,
        [link_id for link_id, _ in visits],
        [session for _, session in visits],
    )
    claims = await connection.fetch(_SQL["claims_of"], events)
    return replace(
        subject,
        visits=visits,
        events=events,
        claims=[(row["workspace_id"], row["scope"], row["key"]) for row in claims],
    )


async def related(connection: Connection, subject: Subject) -> list[tuple[UUID, str]]:
    """Other customers who came by the same clicks: ids and external ids."""
    rows = await connection.fetch(
        _SQL["related"], subject.clicks, subject.person.customer_id
    )
    return [(row["id"], row["external_id"]) for row in rows]


async def begin(
    connection: Connection, person: Person, erasure_id: UUID, operator: str, note: str
) -> UUID:
    """Begin an erasure, or extend the person's earlier one; its id.

    One transaction. After it, writers pseudonymize the person's events, and the rows, keys
    and entries to rewrite are listed in tables, for any process to carry out.
    """
    async with connection.transaction():
        await connection.execute(_SQL["lock"])
        person = await _current(connection, person)
        if begun := await _ids(connection, "begun", person.customer_id):
            await _grow(connection, begun[0])
            return begun[0]
        pseudonymizer = await load_pseudonymizer(connection)
        person = await _with_row(connection, person, pseudonymizer, erasure_id)
        subject = await find(connection, person)
        await connection.execute(
            _SQL["begin"],
            erasure_id,
            person.workspace_id,
            person.customer_id,
            subject.customers,
            subject.clicks,
            person.external_id,
            operator,
            note,
            orjson.dumps(subject.counts()).decode(),
        )
        await _suppress(connection, subject, pseudonymizer, erasure_id)
    return erasure_id


async def find_grown(connection: Connection) -> list[UUID]:
    """The erasures of persons whose data has grown.

    An anonymous click becomes a person's when an event of that person names it.
    """
    return await _ids(connection, "grown")


async def grow(connection: Connection, erasure_id: UUID) -> None:
    """Extend an erasure by the person's new data, inside the caller's transaction."""
    await connection.execute(_SQL["lock"])
    await _grow(connection, erasure_id)


async def _grow(connection: Connection, erasure_id: UUID) -> None:
    row = await connection.fetchrow(_SQL["begun_lock"], erasure_id)
    if row is None:
        return
    owner, customer_id = row["workspace_id"], row["customer_id"]
    known = await _ids(connection, "clicks_of", customer_id)
    clicks = sorted(set(known) - set(row["clicks"]))
    if not clicks:
        return
    visitors = await _ids(connection, "visitors_of", customer_id, clicks)
    customers = sorted(set(visitors) - {*row["customers"], customer_id})
    person = Person(owner, customer_id, None, is_erased=True)
    subject = Subject(person=person, customers=customers, clicks=clicks)
    subject = await _filled(connection, subject, owner)
    counts = subject.counts()
    await connection.execute(
        _SQL["grow"], erasure_id, customers, clicks, counts["events"], counts["claims"]
    )
    await _suppress(
        connection, subject, await load_pseudonymizer(connection), erasure_id
    )


async def _suppress(
    connection: Connection,
    subject: Subject,
    pseudonymizer: Pseudonymizer,
    erasure_id: UUID,
) -> None:
    """List the events to rewrite, and add the person to the suppressions."""
    await connection.execute(_SQL["begin_events"], erasure_id, subject.events)
    owner, external_id = subject.person.workspace_id, subject.person.external_id
    # Before the rows are pseudonymized: the texts that name the person.
    hashes = await _hashes(connection, subject, pseudonymizer)
    await connection.execute(_SQL["begin_hashes"], erasure_id, owner, hashes)
    await connection.execute(_SQL["begin_clicks"], erasure_id, owner, subject.clicks)
    pseudonym = external_id and pseudonymizer.external_id(owner, external_id)
    await connection.execute(
        # Now: the next event under the pseudonym must find this customer.
        _SQL["customers_pseudonymize"],
        subject.customers,
        subject.person.customer_id,
        pseudonym,
    )
    if claims := subject.claims:
        after = [pseudonymizer.dedupe_key(key) for _, _, key in claims]
        changed = (*columns(claims), after)
        await connection.execute(_SQL["claims_pseudonymize"], *changed)
        await connection.execute(_SQL["sales_pseudonymize"], *changed)
        keys = [claim_key(owner, Dedupe(scope, key)) for owner, scope, key in claims]
        await connection.execute(_SQL["leftover_keys"], keys)
    await connection.execute(_SQL["version_next"])


async def _hashes(
    connection: Connection, subject: Subject, pseudonymizer: Pseudonymizer
) -> list[bytes]:
    """By which the person's events and texts are found."""
    owner, external_id = subject.person.workspace_id, subject.person.external_id
    hashes = [pseudonymizer.visit(*visit) for visit in subject.visits]
    sales = (key for _, scope, key in subject.claims if scope == SALE_SCOPE)
    hashes += (pseudonymizer.sale(owner, key) for key in sales)
    if external_id is not None:
        hashes.append(pseudonymizer.customer(owner, external_id))
    rows = await connection.fetch(_SQL["customers_texts"], subject.customers)
    open_email = (await load_email_key(connection)).open
    texts = {row["external_id"] for row in rows} | {row["email"] for row in rows}
    sealed = [row["email_sealed"] for row in rows if row["email_sealed"]]
    texts |= {(open_email(each) or b"").decode() for each in sealed} | {external_id}
    return [*hashes, *hashes_of(texts, pseudonymizer)]


async def _current(connection: Connection, person: Person) -> Person:
    """The person as recorded now: a writer may have added it since it was searched."""
    workspace_id, customer_id, name, _ = person
    if customer_id is None:
        found = await find_people(connection, name, workspace_id) if name else []
        return found[0] if found else person
    row = await connection.fetchrow(_SQL["customer"], customer_id)
    if row is None or row["points_to"] is None:
        return person
    # A visitor who became a customer is that customer.
    found = await find_people(connection, str(row["points_to"]), workspace_id)
    return found[0] if found else person


async def _with_row(
    connection: Connection, person: Person, pseudonymizer: Pseudonymizer, new_id: UUID
) -> Person:
    """Insert a customer row if there is none, so that later events have a customer."""
    if person.customer_id is not None or person.external_id is None:
        return person
    pseudonym = pseudonymizer.external_id(person.workspace_id, person.external_id)
    await connection.execute(
        _SQL["begin_unknown"], new_id, person.workspace_id, pseudonym
    )
    return person._replace(customer_id=new_id)


async def _erased(
    connection: Connection, name: str, workspace_id: UUID | None
) -> list[Person]:
    pseudonymizer, found = await load_pseudonymizer(connection), list[Person]()
    for owner in await _ids(connection, "workspace_ids", workspace_id):
        pseudonym = pseudonymizer.external_id(owner, name)
        rows = await connection.fetch(_SQL["customers_called"], pseudonym, owner)
        found += [Person(owner, row["id"], name, is_erased=True) for row in rows]
    return found


async def _with_email(
    connection: Connection, address: str, workspace_id: UUID | None
) -> list[Person]:
    hashed = (await load_email_key(connection)).hash(address)
    rows = await connection.fetch(_SQL["customers_of_email"], hashed, workspace_id)
    return [Person(row["workspace_id"], row["id"], row["external_id"]) for row in rows]


async def _identified(connection: Connection, name: str) -> DatabaseRecord | None:
    try:
        customer_id = UUID(name)
    except ValueError:
        return None
    row: DatabaseRecord | None = await connection.fetchrow(
        _SQL["customer"], customer_id
    )
    if row is not None and row["points_to"] is not None:
        row = await connection.fetchrow(_SQL["customer"], row["points_to"])
    return row


async def _ids(connection: Connection, name: str, *arguments: object) -> list[UUID]:
    return [row["id"] for row in await connection.fetch(_SQL[name], *arguments)]
