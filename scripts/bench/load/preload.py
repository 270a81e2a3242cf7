"""Millions of recorded events, by COPY, so that growth can be measured. Used by `growth`.

A few thousand clicks are recorded as a worker does; their rows, in PostgreSQL's binary COPY
format ("COPY", "Binary Format" in its manual), are then written again and again under new
ids and times, evenly over the thirty days before now. Counters stay as they were: no
measurement reads them.
"""

import asyncio
import struct
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from io import BytesIO
from random import Random
from typing import Final

from scripts.bench.environment.servers import BenchServers
from scripts.bench.load.drain import unix_ms
from scripts.servers import Connection, postgres
from scripts.sql import statements

_SQL: Final = statements("bench/environment/bench")
_HEADER: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_TRAILER: Final = b"\xff\xff"
#: PostgreSQL counts microseconds from the year 2000.
_EPOCH_MS: Final = 946_684_800_000
_DAYS_MS: Final = 30 * 86_400_000
_CHUNK: Final = 5000
#: A COPY is a transaction, and one of twenty million rows would be lost as a whole.
_PART: Final = 500_000
#: For a COPY of a part, or a VACUUM of everything.
SECONDS: Final = 3600.0
#: What a recorded click takes on the disk with its customer, its indexes and its share of
#: what is written ahead; generously.
BYTES_PER_ROW: Final = 1000

#: Is told how many rows more there are.
Advance = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Template:
    """A row that is written again: what is before, between and after its id and time."""

    head: bytes
    middle: bytes
    tail: bytes

    def row(self, event_id: bytes, micros: bytes) -> bytes:
        return b"".join((self.head, event_id, self.middle, micros, self.tail))


@dataclass(frozen=True, slots=True)
class Schedule:
    """The ids of the events: `count` of them, ascending, from `begin` on, in milliseconds."""

    begin: int
    count: int

    def moment(self, number: int) -> int:
        return self.begin + number * _DAYS_MS // self.count

    def event_id(self, number: int, noise: int) -> bytes:
        """A UUIDv7 (RFC 9562); `noise` is 62 bits."""
        high = self.moment(number) << 16 | 0x7000 | number & 0xFFF
        return (high << 64 | 0b10 << 62 | noise).to_bytes(16)


async def preload(servers: BenchServers, count: int, advance: Advance) -> None:
    """Have so many events more, and a customer for each; statistics and all."""
    schedule = Schedule(unix_ms() - _DAYS_MS - 60_000, count)
    async with postgres(servers.environment, seconds=SECONDS) as connection:
        for month in (schedule.begin, schedule.moment(count)):
            await connection.execute(_SQL["partition"], month / 1000)
        events = await _templates(connection, "events", "at")
        customers = await _templates(connection, "customers", "seen_at")
    async with asyncio.TaskGroup() as group:
        group.create_task(_copy(servers, "events", events, schedule, advance))
        group.create_task(
            _copy(servers, "customers", customers, schedule, lambda _: None)
        )
    async with postgres(servers.environment, seconds=SECONDS) as connection:
        for step in ("calm_events", "calm_customers", "settle"):
            await connection.execute(_SQL[step])


async def _templates(
    connection: Connection, table: str, moment: str
) -> Sequence[Template]:
    """The rows that there are, cut at their id and at the column of their time."""
    file = BytesIO()
    # A partitioned table is copied by way of a query only.
    await connection.copy_from_query(_SQL[table], output=file, format="binary")
    names = [row["attname"] for row in await connection.fetch(_SQL["columns"], table)]
    return list(cut(file.getvalue(), names.index("id"), names.index(moment)))


def cut(data: bytes, key: int, moment: int) -> Sequence[Template]:
    """Rows of binary COPY, cut at two columns, of which the id is the earlier one."""
    found, at = [], len(_HEADER)
    while (columns := struct.unpack_from("!h", data, at)[0]) != -1:
        begin, at, ends = at, at + 2, []
        for _ in range(columns):
            (length,) = struct.unpack_from("!i", data, at)
            ends.append((at + 4, at + 4 + max(0, length)))
            at = ends[-1][1]
        (id_begin, id_end), (time_begin, time_end) = ends[key], ends[moment]
        found.append(
            Template(data[begin:id_begin], data[id_end:time_begin], data[time_end:at])
        )
    return found


async def _copy(
    servers: BenchServers,
    table: str,
    templates: Sequence[Template],
    schedule: Schedule,
    advance: Advance,
) -> None:
    async with postgres(servers.environment, seconds=SECONDS) as connection:
        for begin in range(0, schedule.count, _PART):
            numbers = range(begin, min(begin + _PART, schedule.count))
            await connection.copy_to_table(
                table,
                source=_chunks(templates, schedule, numbers, advance),
                format="binary",
            )


async def _chunks(
    templates: Sequence[Template], schedule: Schedule, numbers: range, advance: Advance
) -> AsyncIterator[bytes]:
    # The same for both tables, so that a click's customer has the click's id.
    noise = Random(numbers.start)  # noqa: S311 -- nobody has to be surprised by it
    yield _HEADER
    for start in numbers[::_CHUNK]:
        chunk = range(start, min(start + _CHUNK, numbers.stop))
        yield b"".join(
            templates[number % len(templates)].row(
                schedule.event_id(number, noise.getrandbits(62)),
                struct.pack("!q", (schedule.moment(number) - _EPOCH_MS) * 1000),
            )
            for number in chunk
        )
        advance(len(chunk))
    yield _TRAILER
