"""Names and shape of the event stream. Anyone may import this.

An entry of a shard has one field, `FIELD`, holding one encoded envelope. The hash tag
around the shard lets a cluster spread the shards over its nodes.
"""

from typing import Final
from uuid import UUID

GROUP: Final = "recorder"
FIELD: Final = b"e"


def events_key(shard: int) -> str:
    """The stream of one shard."""
    return f"{{rt:{shard}}}:events"


def epoch_key(shard: int) -> str:
    """The number under which Postgres knows this life of the shard's stream.

    It lives and dies with the stream: an emptied server loses both, and the next worker
    draws a new number, so that entry ids of two lives are never confused.
    """
    return f"{{rt:{shard}}}:epoch"


def heartbeat_key(consumer: str) -> str:
    """Set, with an expiry, by every live worker under its consumer name."""
    return f"rt:worker:{consumer}"


#: A set of the consumer names that have ever written a heartbeat.
WORKERS_KEY: Final = "rt:workers"

#: How many shards this installation has; the first process to start writes it.
SHARDS_KEY: Final = "rt:shards"


def shard_of(event_id: UUID, shards: int) -> int:
    """The shard of an event: a function of its id, so a retry meets its first attempt."""
    return event_id.int % shards
