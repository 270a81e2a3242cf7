"""Finds customers by what operators call them."""

from collections.abc import Sequence
from typing import Final, NamedTuple
from uuid import UUID

from scripts.errors import UsageProblem
from scripts.servers import Connection, single
from scripts.sql import statements
from workers.erasure.begin import Person, find_people

_SQL: Final = statements("services/find/people")


class Traces(NamedTuple):
    """The customers that a person is recorded as, and the clicks that visits began with."""

    customers: Sequence[UUID]
    clicks: Sequence[UUID]


async def person_or_none(
    connection: Connection, name: str, workspace_id: UUID | None
) -> Person | None:
    """By external id, id or e-mail address. Raises UsageProblem if there are several."""
    found = await find_people(connection, name, workspace_id)
    if len(found) > 1:
        raise UsageProblem(
            "Several customers have that external id or e-mail address: "
            + ", ".join(str(each.customer_id) for each in found),
            "say which with --workspace, or give the customer's id.",
        )
    return found[0] if found else None


async def the_person(
    connection: Connection, name: str, workspace_id: UUID | None
) -> Person:
    """As `person_or_none`. Raises UsageProblem also if there is none."""
    found = await person_or_none(connection, name, workspace_id)
    if found is None:
        raise UsageProblem(
            f"No customer is known as {name!r}.",
            "give its id, external id or e-mail address. Events that are not recorded"
            " yet, or are in quarantine: `reftide event` with the external id.",
        )
    return found


async def traces_of(connection: Connection, person: Person) -> Traces:
    """What a customer's events are found by; of a shared id the latest clicks only."""
    return Traces(**await single(connection, _SQL["traces"], person.customer_id))
