"""Every log event by name, and how logs are written.

One canonical line per unit of work, at *info*; *warning* wants an operator's eye; *error*
is a bug of ours. Lines are JSON objects on standard error. No payloads, no addresses.
"""

import logging
import re
import sys
from collections.abc import Callable
from math import inf
from typing import Final, Literal, TextIO

import orjson
import structlog

#: What JSON allows and a terminal obeys, or a reader takes for the end of a line.
_UNPRINTABLE: Final = re.compile("[\x7f-\x9f\u2028\u2029]")

LogEvent = Literal[
    # The edge.
    "edge.started",  # listening; says where, and with how many shards
    "edge.stopped",  # drained and gone
    "edge.refused",  # debug: a request was refused, with its code
    "edge.failed",  # error: a bug answered 500; carries the traceback
    "edge.overloaded",  # warning: the stream did not take events; look at Redis
    "edge.level",  # where events go now: stream, spool or refuse; a warning but the first
    "edge.lost",  # warning: an event answered 200 in a dialect that never refuses
    "spool.adopted",  # events of an edge that is gone are sent by this one
    "spool.drained",  # all that waited on the disk is in the stream
    "spool.failed",  # warning: the disk does not take events
    "spool.damaged",  # warning: bytes of a spool are unreadable; they were put aside
    "edge.link_unknown",  # warning, once a second: a click named a code that nobody has
    "edge.link_inactive",  # warning, once a second: a click named a link that is off
    "directory.unavailable",  # warning: Redis did not answer; cached records serve on
    "directory.unsaved",  # warning: the snapshot could not be written; look at the disk
    "directory.recovered",  # the directory answers again
    "claims.unavailable",  # warning: repeats and duplicates are answered as firsts
    "limits.unavailable",  # warning: each edge enforces the rate limits on its own
    # Both.
    "admin.unavailable",  # warning: the admin port is taken; tried again every 5 s
    "checkup.finding",  # at the start: what is wrong with a server, a setting or a disk
    # The worker.
    "worker.started",  # reading; says as which consumer
    "worker.stopped",  # drained and gone
    "worker.failed",  # error: a sibling task died, so the process ends
    "arq.restarted",  # warning: arq lost Redis and was started anew
    "batch.written",  # one batch: sizes, repeats, quarantined, lag
    "batch.delayed",  # warning: Postgres or Redis in trouble; the batch waits and retries
    "batch.bisected",  # warning: a batch held data that Postgres refuses
    "link.contested",  # warning: an edge generated a code that is another link's
    "group.paused",  # error where it paused, else a warning: nobody records any more
    "group.resumed",  # warning: an operator let recording go on
    "entry.given_up",  # error: workers died over an entry, which is in quarantine now
    "quarantine.full",  # warning: what clients caused is counted, and not kept any more
    "quarantine.expired",  # what clients caused and nobody put back was given up
    "quarantine.put_off",  # error: a bug; an entry is tried again in a minute
    "quarantine.redriven",  # entries that were in quarantine were tried again
    "entry.newer",  # warning: an envelope of a later release; upgrade this worker
    "entry.lost",  # warning: bodies of entries that were delivered and pending are gone
    "ledger.lost",  # warning: entries vanished and were never recorded; booked as lost
    "stream.trimmed",  # entries that everybody has read were taken out
    "stream.crowded",  # warning: memory runs short, and what is left is unread
    "trim.refused",  # warning: a registered group is missing, so nothing is trimmed
    "archive.written",  # a segment of the archive was finished
    "archive.delayed",  # warning: Redis or the archive's disk is in trouble; it waits
    "archive.missed",  # warning: entries were taken out of a stream before they were archived
    "archive.damaged",  # warning: something of the archive cannot be read
    "archive.uploaded",  # an object store has a segment
    "archive.fetched",  # a segment came back from an object store
    "archive.upload_delayed",  # warning: the object store is in trouble; segments wait here
    "archive.deleted",  # segments went that are older than is wanted
    "consumer.removed",  # workers that are gone for good were forgotten
    "claims.swept",  # claims of idempotency keys that expired were deleted
    "visits.swept",  # windows of clicks too old to be compared were deleted
    "ledger.folded",  # what gone workers counted became one row of each shard
    "group.created",  # warning after the first start: the stream or its group was gone
    "enricher.failed",  # warning, once per cause: events go on without this enrichment
    "directory.published",  # the read model was written, whole or in part
    "partitions.made",  # partitions ahead of time were created
    "job.failed",  # warning: a job failed and will be tried again by its cron
    "erasure.done",  # all that was known of erased persons has gone from Postgres and Redis
    "archive.erased",  # an archive was rewritten where it spoke of erased persons
    "archive.newer",  # warning: lines of a later release were not looked into for them
    "replay.paused",  # warning: so much of a replay cannot be recorded that it rests
]


def configure_logging(level: str = "info", stream: TextIO | None = None) -> None:
    """Send structlog to `stream` (standard error) as one JSON object per line."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(serializer=_dumps),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.getLevelNamesMapping()[level.upper()]
        ),
        logger_factory=structlog.WriteLoggerFactory(stream or sys.stderr),
        cache_logger_on_first_use=True,
    )


class Log:
    """A logger whose event names are checked by the type checker."""

    def __init__(self, **bound: object) -> None:
        """Bind facts that every line of this logger carries."""
        self._log = structlog.get_logger(**bound)

    def debug(self, event: LogEvent, **facts: object) -> None:
        self._log.debug(event, **facts)

    def info(self, event: LogEvent, **facts: object) -> None:
        self._log.info(event, **facts)

    def warning(self, event: LogEvent, **facts: object) -> None:
        self._log.warning(event, **facts)

    def error(self, event: LogEvent, **facts: object) -> None:
        self._log.error(event, **facts)


class Bounded:
    """Warnings of one event that anybody outside can cause, as often as they like.

    One line an interval; the next line says, as `suppressed`, how many there were since.
    """

    def __init__(
        self, event: LogEvent, clock: Callable[[], float], every: float = 1.0
    ) -> None:
        """`clock` gives seconds of any beginning, as `every` is in seconds."""
        self._event: LogEvent = event
        self._clock = clock
        self._every = every
        self._next = -inf
        self._suppressed = 0
        self._log = Log()

    def warning(self, **facts: object) -> None:
        now = self._clock()
        if now < self._next:
            self._suppressed += 1
            return
        if self._suppressed:
            facts["suppressed"] = self._suppressed
        self._log.warning(self._event, **facts)
        self._next, self._suppressed = now + self._every, 0


def _dumps(value: object, **_: object) -> str:
    text = orjson.dumps(value, default=str).decode()
    return _UNPRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
