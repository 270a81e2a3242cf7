"""Names and shape of the event stream.

An entry of a shard has one field, `FIELD`. It holds one encoded envelope, or several of one
request: `{"v":2,"e":[…]}`. A former release takes that for an envelope of a later one, and
leaves it pending. The hash tag around the shard lets a cluster spread the shards over its
nodes.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple, Self
from uuid import UUID

import msgspec
from msgspec import Raw
from typing_extensions import override

GROUP: Final = "recorder"
FIELD: Final = b"e"

#: The most events and bytes that an entry of several events may have, so that no command of
#: Redis' and no transaction of a worker's becomes long.
ENTRY_EVENTS: Final = 64
ENTRY_BYTES: Final = 64 * 1024

_SEVERAL: Final = b'{"v":2,"e":['
_END: Final = b"]}"

#: The group of the archive, and its only consumer.
ARCHIVE_GROUP: Final = "archive"
ARCHIVER: Final = "archiver"

#: A set of the groups that read the shards beside `GROUP`. While one of them is missing,
#: nothing is trimmed. Register a group before you create it. The set is lost together with
#: the streams; register again then.
GROUPS_KEY: Final = "rt:groups"

_LAST_SEQ: Final = (1 << 64) - 1


class EntryId(NamedTuple):
    """An id of a stream's entry; ordered as the stream is. `ms` is Redis' Unix time."""

    ms: int
    seq: int

    @classmethod
    def of(cls, raw: bytes | str) -> Self:
        text = raw.decode() if isinstance(raw, bytes) else raw
        ms, _, seq = text.partition("-")
        return cls(int(ms), int(seq or 0))

    @property
    def next(self) -> Self:
        """The lowest id above this one."""
        if self.seq == _LAST_SEQ:
            return type(self)(self.ms + 1, 0)
        return self._replace(seq=self.seq + 1)

    @override
    def __str__(self) -> str:
        return f"{self.ms}-{self.seq}"


def events_key(shard: int) -> str:
    """The stream of one shard."""
    return f"{{rt:{shard}}}:events"


def epoch_key(shard: int) -> str:
    """The epoch of the shard's stream, as PostgreSQL numbers it.

    It is lost together with the stream: then the next worker draws a new number, so that
    entry ids of two epochs are never confused.
    """
    return f"{{rt:{shard}}}:epoch"


def cut_key(shard: int) -> str:
    """The number of entries that the trimmer deleted in this epoch of the shard's stream.

    Other missing entries were deleted by another client, read or unread.
    """
    return f"{{rt:{shard}}}:cut"


def alone_key(shard: int) -> str:
    """A hash of the shard's entries that are processed alone, or were when a worker died."""
    return f"{{rt:{shard}}}:alone"


def sealed_key(shard: int) -> str:
    """While the shard's stream is sealed: the last id that it gave out before."""
    return f"{{rt:{shard}}}:sealed"


def probe_key(shard: int) -> str:
    """What edges write to see whether a server of streams takes writes; it expires."""
    return f"{{rt:{shard}}}:probe"


def archiver_key(shard: int) -> str:
    """The name of the worker that archives the shard, with an expiry."""
    return f"{{rt:{shard}}}:archiver"


def heartbeat_key(consumer: str) -> str:
    """Set, with an expiry, by every live worker under its consumer name."""
    return f"rt:worker:{consumer}"


def uploads_key(consumer: str) -> str:
    """The state of a live worker's uploads, as JSON, with an expiry."""
    return f"rt:uploads:{consumer}"


#: A set of the consumer names that have ever written a heartbeat.
WORKERS_KEY: Final = "rt:workers"


def edge_key(edge: str) -> str:
    """The state of a live edge, as JSON, with an expiry."""
    return f"rt:edge:{edge}"


#: A sorted set of the edges' names by when they last wrote, Unix seconds of their clock.
EDGES_KEY: Final = "rt:edges"

#: A set of entries that vanished, with an expiry: edges name them, workers take them out.
VANISHED_KEY: Final = "rt:edge-vanished"


class VanishedClaim(NamedTuple):
    """The dedupe key of an entry's event, and what tells its workspace.

    That is the workspace itself, its link, or what an edge knew that had no directory: the
    hash of its API key, or the code of its link and where to look for it.
    """

    ordinal: int
    scope: str
    key: bytes
    workspace_id: UUID | None
    link_id: UUID | None
    key_hash: bytes | None
    namespaces: tuple[str, ...]
    code: str | None


class VanishedEntry(NamedTuple):
    """An entry that vanished, and the ids of its events, one after the other."""

    epoch: int
    shard: int
    entry: bytes
    event_ids: bytes
    claims: tuple[VanishedClaim, ...] = ()

    @property
    def packed(self) -> bytes:
        """A member of the set."""
        return msgspec.json.encode(self)

    @classmethod
    def unpack(cls, member: bytes) -> Self:
        return msgspec.json.decode(member, type=cls)


#: The shards of this installation, as `placement.layout` writes them; the first process to
#: start does.
SHARDS_KEY: Final = "rt:shards"

#: While the shards change: from which layout to which, as JSON.
SHARDS_CHANGE_KEY: Final = "rt:shards-change"

#: The last id of a sealed stream. Redis refuses to append after the highest id there is, gives
#: out what is there, and forgets neither across restarts nor fail-overs.
SEALED_ID: Final = f"{_LAST_SEQ}-{_LAST_SEQ}"

#: On each of several servers of streams: which of them it is. Where a process has them in
#: another order, or another server in its place, it takes and gives none of its entries.
PLACE_KEY: Final = "rt:place"


class _Entry(msgspec.Struct):
    """An entry of several events, each as it was encoded."""

    e: list[Raw]


_DECODER: Final = msgspec.json.Decoder(_Entry)


def joined(payloads: Sequence[bytes]) -> bytes:
    """What an entry of these encoded envelopes holds; at least one, at most ENTRY_EVENTS."""
    if len(payloads) == 1:
        return payloads[0]
    return b"%b%b%b" % (_SEVERAL, b",".join(payloads), _END)


def holds_several(payload: bytes) -> bool:
    """Whether an entry may hold several events, by how it begins."""
    return payload.startswith(_SEVERAL)


def split(payload: bytes) -> Sequence[bytes]:
    """The encoded envelopes that an entry holds, in their order.

    What `joined` did not make is one envelope, or none.
    """
    if not holds_several(payload):
        return (payload,)
    try:
        events = _DECODER.decode(payload).e
    except (msgspec.DecodeError, ValueError, RecursionError):
        return (payload,)
    if not 0 < len(events) <= ENTRY_EVENTS:
        return (payload,)
    return [bytes(event) for event in events]


def is_sealed(error: BaseException) -> bool:
    """Whether an append failed because its stream is sealed."""
    return "exhausted the last possible ID" in str(error)


def shard_of(event_id: UUID, shards: int) -> int:
    """The shard of an entry, by the id of its first event."""
    return event_id.int % shards
