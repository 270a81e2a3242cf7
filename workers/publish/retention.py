"""For how long the directory keeps records, and whose while Redis fills."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from redis.asyncio import Redis

from ingest.contracts.metrics.worker import UNPUBLISHED
from ingest.contracts.shares import HourlyShares
from ingest.contracts.variables import DAY_SECONDS
from workers.publish.records import Record
from workers.settings import CUSTOMER_KEEP_DAYS

#: Of Redis' `maxmemory`: half of where edges go over to their disks.
_FILLING_PERCENT: Final = 40


def _unix_ms() -> int:
    return time.time_ns() // 1_000_000


@dataclass(frozen=True, slots=True)
class Retention:
    """How long records are kept. `clock` gives Unix milliseconds."""

    #: Customers that an API key named, since it did so last.
    customer_days: int = CUSTOMER_KEEP_DAYS
    #: How long a day of an expiry lasts.
    day_seconds: int = DAY_SECONDS
    clock: Callable[[], int] = _unix_ms
    shares: HourlyShares = field(default_factory=HourlyShares)

    def left_ms(self, record: Record) -> int | None:
        """For how long a record is still to be kept; None: for good."""
        if record.expires_at is None:
            return None
        return (record.expires_at - self.clock()) * self.day_seconds // DAY_SECONDS

    def has_room(self, record: Record) -> bool:
        """Whether a record may be written while Redis fills; it is counted if so."""
        level = self.shares.exceeded(record.strangers, self.clock())
        if level is not None:
            UNPUBLISHED.labels(level).inc()
        return level is None


async def is_filling(redis: Redis) -> bool:
    """Whether so much of Redis' memory is used that strangers get shares."""
    memory = await redis.info("memory")
    used, limit = int(memory["used_memory"]), int(memory["maxmemory"])
    return 0 < limit * _FILLING_PERCENT < 100 * used
