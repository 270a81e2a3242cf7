"""The worker's baseline: COPY of the rows that a worker made of the same events.

Over one connection and with a transaction for every batch, as a worker commits; nothing is decoded, resolved, enriched, compared or booked.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from ingest.contracts.envelope import Kind
from scripts.servers import Connection, rows
from scripts.sql import statements
from workers.counters.rule import LINKS, WEIGHTS, addition, arguments

_SQL: Final = statements("bench/environment/bench")
_COUNT_LINKS: Final = addition(LINKS)

_Values = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Recorded:
    """The rows of a run: events as they came, and customers by id."""

    events: Sequence[_Values]
    customers: Mapping[UUID, _Values]


@dataclass(frozen=True, slots=True)
class Batch:
    """What one transaction writes; `counts` are the arguments of the links' counters."""

    events: Sequence[tuple[Any, ...]]
    customers: Sequence[tuple[Any, ...]]
    counts: Sequence[Sequence[Any]]


async def read_back(connection: Connection, count: int) -> Recorded:
    """So many events, the latest, and their customers."""
    events = (await rows(connection, _SQL["events"]))[-count:]
    customers = {row["id"]: row for row in await rows(connection, _SQL["customers"])}
    ids = [event["id"] for event in events if event["id"] in customers]
    return Recorded(events, {each: customers[each] for each in ids})


def batches(
    recorded: Recorded, size: int, new_id: Callable[[], UUID]
) -> Iterator[Batch]:
    """The rows under new ids, so that they land where new rows land.

    A click's customer has the click's id.
    """
    for start in range(0, len(recorded.events), size):
        chunk = recorded.events[start : start + size]
        events, customers = [], []
        for event, new in ((event, new_id()) for event in chunk):
            events.append(_under(event, new))
            if event["id"] in recorded.customers:
                customers.append(_under(recorded.customers[event["id"]], new))
        yield Batch(events, customers, counts(chunk))


def counts(events: Sequence[_Values]) -> Sequence[Sequence[Any]]:
    """What clicks add to their links, as the arguments of `_COUNT_LINKS`."""
    of_link: dict[UUID, list[_Values]] = defaultdict(list)
    for event in events:
        of_link[event["link_id"]].append(event)
    links = sorted(of_link)
    latest = [max(click["at"] for click in of_link[link]) for link in links]
    changes = [((link,), _total(of_link[link])) for link in links]
    return [*arguments(LINKS, changes), latest]


async def copy(
    connection: Connection, recorded: Recorded, prepared: Sequence[Batch]
) -> None:
    """Write all batches; `prepared` are `batches` of what was recorded."""
    event_columns = list(recorded.events[0])
    customer_columns = list(next(iter(recorded.customers.values())))
    for batch in prepared:
        async with connection.transaction():
            await connection.copy_records_to_table(
                "events", records=batch.events, columns=event_columns
            )
            await connection.copy_records_to_table(
                "customers", records=batch.customers, columns=customer_columns
            )
            await connection.execute(_COUNT_LINKS, *batch.counts)


def _total(clicks: Sequence[_Values]) -> list[int]:
    """What clicks of one link add to each of its counters."""
    counts = []
    for click in clicks:
        weights = WEIGHTS[Kind.CLICK, click["is_bot"], click["is_duplicate"]]
        counts.append([click["quantity"] * weight for weight in weights])
    return [sum(column) for column in zip(*counts, strict=True)]


def _under(row: _Values, new_id: UUID) -> tuple[Any, ...]:
    return tuple({**row, "id": new_id}.values())
