"""Compares what an edge appended with what a server has that was restarted or replaced."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import islice
from typing import Final

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from ingest.contracts.stream import VANISHED_KEY
from ingest.durable.append_counts import Absent, AppendCounts
from ingest.durable.former_edges import Former, FormerEdges
from ingest.durable.vanished import absent_entries

#: What vanished is named so many a command, and is there for workers for a week.
_CHUNK: Final = 1000
_VANISHED_SECONDS: Final = 7 * 86_400


class Comparison:
    """Of one edge's counts."""

    def __init__(self, redis: Redis, appended: AppendCounts) -> None:
        """`redis` is the probe's, where `REDIS_URL` leads."""
        self._redis = redis
        self.appended = appended
        #: The run of that server, once workers can know what vanished until then.
        self.run: str | None = None
        #: By shard, the run of its server that was compared, likewise.
        self.runs: Mapping[int, str] = {}
        self._compared: dict[int, str] = {}
        self._told = 0

    async def compare(
        self, redis: Redis, run: str, epochs: Mapping[int, int | None]
    ) -> None:
        """Ask a new run of a server, and the streams of new epochs; raises REDIS_ERRORS."""
        asked = [
            shard
            for shard, epoch in epochs.items()
            if not self.appended.is_compared(shard, run)
            or self.appended.is_new(shard, epoch)
        ]
        self.appended.compared(run, epochs, await self._absent(redis, asked))
        self._compared.update(dict.fromkeys(epochs, run))

    async def tell(self, run: str) -> None:
        """Name what was found to have vanished, in a run of the server; raises REDIS_ERRORS."""
        compared = {**self._compared}
        await self._tell_vanished(run)
        self.run, self.runs = run, compared

    @property
    def is_told(self) -> bool:
        """Whether all shards that it has counts of were compared."""
        return self.run is not None and self.appended.epochs.keys() <= self.runs.keys()

    async def _tell_vanished(self, run: str) -> None:
        """Name what vanished for workers; again to another run, which may have forgotten it."""
        if run != self.run:
            self._told = 0
        entries, count = self.appended.vanished_entries, self.appended.vanished_count
        new = [*islice(entries, max(0, len(entries) - count + self._told), None)]
        if not new:
            return
        async with self._redis.pipeline(transaction=False) as pipe:
            for at in range(0, len(new), _CHUNK):
                pipe.sadd(VANISHED_KEY, *(one.packed for one in new[at : at + _CHUNK]))
            pipe.expire(VANISHED_KEY, _VANISHED_SECONDS)
            replies = await pipe.execute(raise_on_error=False)
        if not any(isinstance(each, Exception) for each in replies):
            self._told = count

    async def _absent(
        self, redis: Redis, shards: Sequence[int]
    ) -> Mapping[int, Absent]:
        latest = self.appended.latest
        with suppress(ResponseError):  # an edge without permission for EVAL
            return {
                shard: await absent_entries(redis, shard, latest(shard))
                for shard in shards
            }
        return {}


class Comparisons:
    """Of an edge's own counts, and of those of edges that are gone."""

    def __init__(
        self,
        redis: Redis,
        appended: AppendCounts,
        former: FormerEdges,
        *,
        has_several_servers: bool = False,
    ) -> None:
        """`redis` is the probe's, where `REDIS_URL` leads."""
        self._redis = redis
        self._has_several_servers = has_several_servers
        self._own = Comparison(redis, appended)
        self._former = former
        self._of_former: list[tuple[Former, Comparison]] = []

    def begin(self, name: str, since: int) -> None:
        """Whose counts they are, and since when, Unix milliseconds."""
        self._former.begin(self._own.appended, name, since)

    async def adopt(self, now: int) -> None:
        """Take over from edges that are gone; `now` is Unix milliseconds."""
        new = await asyncio.to_thread(self._former.adopt, now)
        over = self._former.drop_old(now)
        kept = [each for each in self._of_former if each[0] not in over]
        more = [(each, Comparison(self._redis, each.appended)) for each in new]
        self._of_former = [*kept, *more]

    async def compare(
        self, redis: Redis, run: str, epochs: Mapping[int, int | None]
    ) -> None:
        """Ask a new run of a server, and the streams of new epochs; raises REDIS_ERRORS."""
        for comparison in (self._own, *(each for _, each in self._of_former)):
            await comparison.compare(redis, run, epochs)

    async def tell(self, run: str) -> None:
        """Name what vanished to a run of the server where `REDIS_URL` leads."""
        for comparison in (self._own, *(each for _, each in self._of_former)):
            await comparison.tell(run)

    def report(self) -> Mapping[str, object]:
        """All counts, as the edge publishes them."""
        left = [
            self._report(comparison)
            | {"name": former.appended.name, "until": former.until}
            for former, comparison in self._of_former
            if comparison.is_told
        ]
        return self._report(self._own) | ({"left": left} if left else {})

    def close(self) -> None:
        """Leave the counts to the next edge."""
        self._former.close(self._own.appended)
        self._of_former = []

    def _report(self, comparison: Comparison) -> dict[str, object]:
        own, runs = comparison.appended, comparison.runs
        found: dict[str, object] = {
            "since": own.since,
            **own.report(),
            "run": comparison.run,
        }
        if self._has_several_servers:
            found["runs"] = {
                str(epoch): runs[shard]
                for shard, epoch in own.epochs.items()
                if shard in runs
            }
        return found
