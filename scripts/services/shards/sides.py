"""The shards as they are, and as they are to be: each a layout and how to reach its servers."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import NamedTuple

import msgspec
from redis.asyncio import Redis

from ingest.contracts.placement.change import ChangeNote
from ingest.contracts.placement.layout import Layout, described
from ingest.contracts.placement.streams_url import Placement
from ingest.contracts.stream import SHARDS_CHANGE_KEY, SHARDS_KEY
from scripts.environment import Environment
from scripts.errors import Failure, UsageProblem
from scripts.servers import redis_server


class Record(NamedTuple):
    """What Redis has of the shards."""

    shards: bytes
    change: ChangeNote | None

    @property
    def is_agreed(self) -> bool:
        """Whether a change is under way whose shards processes have to have by now."""
        return self.change is not None and self.change.is_agreed


@dataclass(frozen=True, slots=True)
class Side:
    """A layout, and a client that reaches its servers."""

    placement: Placement
    redis: Redis

    @property
    def layout(self) -> Layout:
        return self.placement.layout

    def is_beside(self, other: "Side") -> bool:
        """Whether both are on the same servers."""
        return self.placement.servers == other.placement.servers


async def read_record(environment: Environment) -> Record:
    """Raises UsageProblem where no process has started yet, and Unreachable."""
    async with redis_server(_with(environment, STREAMS_URL="")) as home:
        shards, change = await home.mget(SHARDS_KEY, SHARDS_CHANGE_KEY)
    if shards is None:
        raise UsageProblem(
            "There are no shards yet: the first process to start makes them.",
            "set REFTIDE_SHARDS, and STREAMS_URL, for it.",
        )
    note = change and msgspec.json.decode(change, type=ChangeNote)
    return Record(shards, note)


def at_present(environment: Environment, record: Record) -> Environment:
    """The environment of processes that know nothing of a change.

    Raises UsageProblem where STREAMS_URL is not theirs.
    """
    said = record.change.from_.encode() if record.change else record.shards
    try:
        layout = Layout.recorded(said)
    except ValueError as error:
        raise Failure(
            f"{SHARDS_KEY} in Redis is {described(said)!r}: no process of ours wrote it.",
            "set it to the number of shards that edges and workers have.",
        ) from error
    found = _with(environment, REFTIDE_SHARDS=str(len(layout.numbers)))
    if not layout.place:
        found = _with(found, STREAMS_URL="")
    if found.layout().record != said:
        raise UsageProblem(
            f"The streams are on {layout.place}, and STREAMS_URL says otherwise.",
            "set STREAMS_URL as edges and workers have it; --streams-url says where the"
            " streams are to go.",
        )
    return found


def to_be(
    environment: Environment, shards: int, streams_url: str | None
) -> Environment:
    """The environment of processes after a change.

    Without `streams_url` the variable says where. Raises UsageProblem.
    """
    found = _with(environment, REFTIDE_SHARDS=str(shards))
    if streams_url is not None:
        found = _with(found, STREAMS_URL=streams_url)
    found.layout()
    return found


@asynccontextmanager
async def reached(environment: Environment, *, is_placed: bool) -> AsyncIterator[Side]:
    """Its servers, which may be other ones of a list unless they are `is_placed`.

    Raises Unreachable, also from inside the block.
    """
    async with redis_server(environment, checks_places=is_placed) as redis:
        yield Side(environment.placement(), redis)


def _with(environment: Environment, **variables: str) -> Environment:
    return replace(environment, variables={**environment.variables, **variables})
