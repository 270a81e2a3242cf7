"""Lists recorded events by what they are about, and follows new ones."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple
from uuid import UUID

from scripts.errors import UsageProblem
from scripts.servers import Connection, required, rows
from scripts.services.administer.access.workspaces import filter_by
from scripts.services.administer.catalogue.link_lookup import any_link
from scripts.services.administer.catalogue.partners import the_partner
from scripts.services.find.people import Traces, the_person, traces_of
from scripts.sql import statements

_SQL: Final = statements("services/find/events")

#: What is told of an event.
FIELDS: Final = (
    "id", "at", "kind", "is_test", "is_bot", "is_duplicate", "is_unverified", "quantity",
    "dialect", "name", "amount", "currency", "workspace", "link", "program", "partner",
    "customer", "customer_id", "click_id", "attributed_id", "session", "country",
    "device", "recorded_at",
)  # fmt: skip

#: Indexes leave out what cannot match, and do not sort: what happened lately is asked for first.
_SPANS: Final = (
    timedelta(minutes=1),
    timedelta(hours=1),
    timedelta(days=1),
    timedelta(days=30),
    None,
)
#: A transaction's rows have the time when it began. None takes longer until it commits.
_COMMIT_SECONDS: Final = 30.0

#: Waits until new events are to be asked for again; False: they are not.
Pause = Callable[[], Awaitable[bool]]


class EventFilter(NamedTuple):
    """Which events: those that meet all that is said.

    `since` and `until` are about event time. `people` are customers' and visitors' ids.
    """

    workspace_id: UUID | None = None
    partner_id: UUID | None = None
    kind: str | None = None
    link_id: UUID | None = None
    since: datetime | None = None
    until: datetime | None = None
    people: Traces | None = None


async def choose(connection: Connection, by: Mapping[str, Any]) -> EventFilter:
    """The filter that options name. Raises UsageProblem for what is not there."""
    owner = await filter_by(connection, by["workspace"])
    link = await any_link(connection, by["link"], by["domain"]) if by["link"] else None
    partner = (
        await the_partner(connection, by["partner"], owner) if by["partner"] else None
    )
    people = None
    if by["customer"]:
        person = await the_person(connection, by["customer"], owner)
        people = await traces_of(connection, person)
    return EventFilter(
        owner,
        partner["id"] if partner else None,
        by["kind"],
        link["id"] if link else None,
        by["since"],
        by["until"],
        people,
    )


async def page(
    connection: Connection,
    choice: EventFilter,
    limit: int,
    now: datetime,
    after: UUID | None = None,
) -> list[dict[str, Any]]:
    """Events by time and id, latest first, from after one on. Raises UsageProblem."""
    start = await _place(connection, after) if after else None
    if start is not None:
        # No index but the summaries of `at` has it: without an end of its own, a part would read
        # all that former parts were. Times have microseconds.
        end = start + timedelta.resolution
        choice = choice._replace(until=min(filter(None, (choice.until, end))))
    if choice.people is not None:
        shared = (*choice[:-1], start, after, limit)
        return await rows(connection, _SQL["by_customer"], *shared, *choice.people)
    found: list[dict[str, Any]] = []
    newest = min(filter(None, (start, choice.until)), default=now)
    for span in _SPANS:
        since = _later(choice.since, newest - span if span else None)
        narrowed = choice._replace(since=since)
        found = await rows(
            connection, _SQL["by_time"], *narrowed[:-1], start, after, limit
        )
        if len(found) == limit or since == choice.since:
            break
    return found


async def with_ids(connection: Connection, ids: list[UUID]) -> list[dict[str, Any]]:
    """Events with these ids, latest first."""
    return await rows(connection, _SQL["by_ids"], ids)


async def follow(
    connection: Connection,
    choice: EventFilter,
    limit: int,
    pause: Pause,
) -> AsyncIterator[dict[str, Any]]:
    """Events as they are recorded, from now on; at most so many are asked for at once."""
    people = choice.people or (None, None)
    known: dict[UUID, datetime] = {}
    began = reached = await connection.fetchval(_SQL["present"])
    while True:
        since = max(began, reached - timedelta(seconds=_COMMIT_SECONDS))
        known = {event: at for event, at in known.items() if at >= since}
        found = await rows(
            connection,
            _SQL["news"],
            *choice[:-1],
            None,
            None,
            limit,
            *people,
            since,
            list(known),
        )
        for event in found:
            known[event["id"]] = event["recorded_at"]
            reached = max(reached, event["recorded_at"])
            yield event
        if len(found) < limit and not await pause():
            return


async def _place(connection: Connection, event_id: UUID) -> datetime:
    unknown = UsageProblem(
        f"No event {event_id} is recorded.", "give the id of an event of a former list."
    )
    row = await required(connection, unknown, _SQL["place"], event_id)
    at: datetime = row["at"]
    return at


def _later(one: datetime | None, other: datetime | None) -> datetime | None:
    return max(filter(None, (one, other)), default=None)
