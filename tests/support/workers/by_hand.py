"""What an edge and a worker do, by hand, so that a test decides what the books hold."""

from dataclasses import dataclass
from uuid import UUID

from redis import Redis
from uuid_utils.compat import uuid7

from ingest.contracts import ids
from ingest.contracts.encoding.envelopes import encode
from ingest.contracts.envelope import Kind
from ingest.contracts.stream import FIELD, GROUP, epoch_key, events_key, shard_of
from tests.support.envelopes import an_envelope
from tests.support.servers.cli import Cli

LINK = UUID(int=0x51)

_EVENT = """
with written as (
    insert into events (id, at, digest, kind, is_test, is_bot, is_duplicate, quantity, epoch,
                        shard, entry_seq, entry_ms, workspace_id, link_id, program_id,
                        partner_id, dialect)
    select $1, to_timestamp($2 / 1000.0), 0, 'click', $3, false, false, 1, $4, $5, $6, $7,
           workspace_id, id, program_id, partner_id, 'biore'
      from links
    returning *
), booked as (
    insert into ledger (epoch, shard, consumer, recorded) values ($4, $5, 'by hand', 1)
    on conflict (epoch, shard, consumer) do update set recorded = ledger.recorded + 1
), marked as (
    insert into dirty (bucket) values ((uuid7_time($1) at time zone 'UTC')::date)
), counted as (
    update links set clicks = clicks + 1, unique_clicks = unique_clicks + 1 where not $3
), enrolled as (
    update program_partners set clicks = clicks + 1, unique_clicks = unique_clicks + 1 where not $3
)
insert into link_days (link_id, day, clicks, unique_clicks)
select link_id, (at at time zone 'UTC')::date, 1, 1 from written where not $3
on conflict (link_id, day) do update set clicks = link_days.clicks + 1, unique_clicks = link_days.unique_clicks + 1
"""


@dataclass(frozen=True, slots=True)
class Hands:
    """Does what an edge and a worker do, a step at a time."""

    cli: Cli
    redis: Redis

    def send(self, event_id: UUID | None = None, raw: bytes | None = None) -> UUID:
        """Append a click."""
        event_id = event_id or uuid7()
        sealed = an_envelope(
            id=event_id, kind=Kind.CLICK, dialect="biore", at=ids.millis(event_id)
        )
        shard = shard_of(event_id, 4)
        self.redis.xadd(events_key(shard), {FIELD: raw or encode(sealed)})
        return event_id

    def deliver(self) -> list[tuple[int, bytes]]:
        """Read what waits, as a worker; (shard, entry) of each."""
        keys = [events_key(shard) for shard in range(4)]
        found = self.redis.xreadgroup(GROUP, "by hand", dict.fromkeys(keys, ">"))
        return [
            (keys.index(key.decode()), entry)
            for key, read in found
            for entry, _ in read
        ]

    def acknowledge(self, entry: tuple[int, bytes]) -> None:
        self.redis.xack(events_key(entry[0]), GROUP, entry[1])

    def record(
        self, event_id: UUID, entry: tuple[int, bytes], *, is_test: bool = False
    ) -> None:
        """Write a click's row and count it."""
        shard, (ms, seq) = entry[0], map(int, entry[1].split(b"-"))
        self.cli.fetch(
            _EVENT,
            event_id,
            float(ids.millis(event_id)),
            is_test,
            self.epoch(shard),
            shard,
            seq,
            ms,
        )

    def settle(self, event_id: UUID) -> None:
        """All that becomes of an event: sent, delivered, recorded, acknowledged."""
        self.send(event_id)
        (entry,) = self.deliver()
        self.record(event_id, entry)
        self.acknowledge(entry)

    def epoch(self, shard: int) -> int:
        return int(self.redis.get(epoch_key(shard)))


def quarantined(
    cli: Cli,
    *,
    event_id: UUID | None = None,
    place: tuple[int, int, int, int] = (9, 0, 1, 0),
    reason: str = "unknown_link",
    payload: bytes = b"{}",
) -> int:
    (row,) = cli.fetch(
        "insert into quarantine (epoch, shard, entry_ms, entry_seq, event_id, kind, dialect,"
        " workspace_id, code, reason, detail, payload, consumer)"
        " values ($1, $2, $3, $4, $5, 'click', 'biore', (select id from workspaces limit 1),"
        " 'NOBODY', $6::text::quarantine_reason, 'why', $7, 'w') returning id",
        *place,
        event_id,
        reason,
        payload,
    )
    return row["id"]
