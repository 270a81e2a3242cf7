"""Every log event by name, and how logs are written.

One line per unit of work, at *info*; a *warning* is for an operator to look at; an *error*
is a bug of ours. Lines are JSON objects on standard error. No payloads, no addresses.
"""

import logging
import re
import sys
from collections.abc import Callable
from contextlib import suppress
from math import inf
from typing import Final, Literal, TextIO

import orjson
import structlog
from typing_extensions import override

#: What JSON allows and a terminal obeys, or a reader takes for the end of a line.
_UNPRINTABLE: Final = re.compile("[\x7f-\x9f\u2028\u2029]")

LogEvent = Literal[
    # The edge.
    "edge.started",  # listening; says where, and with how many shards
    "edge.stopped",  # drained; the process ends
    "edge.refused",  # debug: a request was refused, with its code
    "edge.failed",  # error: a bug answered 500; carries the traceback
    "edge.overloaded",  # warning: the stream does not take events; look at Redis
    "edge.level",  # the degradation level changed; a warning but for the first line
    "streams.away",  # warning: of several servers of streams, one takes no events
    "streams.back",  # it takes them again
    "edge.lost",  # warning: an event that was answered 200 could not be stored
    "appends.adopted",  # this edge tells what an edge that is gone had appended
    "appends.unkept",  # warning: what this edge appends is not known once it is killed
    "spool.adopted",  # this edge sends the events of an edge that is gone
    "spool.drained",  # all spooled events are in the stream
    "spool.failed",  # warning: the disk does not take events
    "spool.damaged",  # warning: unreadable bytes of a spool were moved aside
    "edge.link_unknown",  # warning, at most once a second: a click names an unknown code
    "edge.link_inactive",  # warning, at most once a second: a click names a link that is off
    "directory.unavailable",  # warning: Redis does not answer; cached records are served
    "directory.unsaved",  # warning: the snapshot cannot be written; look at the disk
    "directory.recovered",  # the directory answers again
    "clock.corrected",  # warning: this machine's clock is far from Redis', which counts
    "claims.unavailable",  # warning: repeats and duplicates are answered as first events
    "limits.unavailable",  # warning: each edge enforces the rate limits on its own
    "trace.limited",  # warning, at most once a minute: more requests ask for traces than may
    # Both.
    "trace.unavailable",  # warning: the extra `otel` is not installed; nothing is traced
    "trace.unexported",  # warning, at most once a minute: the collector does not take spans
    "admin.unavailable",  # warning: the admin port is taken; tried again every 5 s
    "library.said",  # a warning or an error of a library, in its own words
    "checkup.finding",  # at startup: what is wrong with a server, a setting or a disk
    # The worker.
    "worker.started",  # reading, under this consumer name
    "worker.stopped",  # drained; the process ends
    "worker.failed",  # error: a task died, so the process ends
    "arq.restarted",  # warning: arq lost Redis and was restarted
    "batch.written",  # one batch: sizes, repeats, quarantined, lag
    "batch.delayed",  # warning: PostgreSQL or Redis is in trouble; the batch is retried
    "batch.bisected",  # warning: a batch holds data that PostgreSQL refuses
    "link.contested",  # warning: an edge generated a code that another link has
    "group.paused",  # error on the worker that paused recording, a warning on others
    "group.resumed",  # warning: an operator resumed recording
    "entry.given_up",  # error: workers died on an entry; it is quarantined
    "quarantine.full",  # warning: what clients cause is counted and no longer kept
    "quarantine.expired",  # entries that clients caused and nobody redrove were discarded
    "quarantine.put_off",  # error: a bug; the entry is tried again in a minute
    "quarantine.redriven",  # quarantined entries were tried again
    "entry.newer",  # warning: an envelope of a later release; upgrade this worker
    "entry.lost",  # warning: the bodies of pending entries are gone
    "ledger.lost",  # warning: entries vanished unrecorded; the ledger counts them as lost
    "stream.trimmed",  # entries that every group has read were deleted
    "stream.crowded",  # warning: memory runs short, and what is left is unread
    "trim.refused",  # warning: a registered group is missing, so nothing is trimmed
    "archive.written",  # a segment of the archive was finished
    "archive.delayed",  # warning: Redis or the archive's disk is in trouble; it waits
    "archive.missed",  # warning: entries were deleted before they were archived
    "archive.damaged",  # warning: a part of the archive cannot be read
    "archive.uploaded",  # a segment was uploaded to the object store
    "archive.fetched",  # a segment was downloaded from the object store
    "archive.upload_delayed",  # warning: the object store is in trouble; segments wait here
    "archive.deleted",  # segments beyond the retention time were deleted
    "consumer.removed",  # consumers of workers that are gone were deleted
    "claims.swept",  # claims of idempotency keys that expired were deleted
    "clicks.swept",  # short click ids whose clicks are too old to earn were deleted
    "visits.swept",  # windows of clicks too old to be compared were deleted
    "ledger.folded",  # rows of workers that are gone became one row a shard
    "group.created",  # a stream or its group was missing; a warning after the first start
    "enricher.failed",  # warning, once per cause: events go on without this enrichment
    "directory.published",  # the read model was written, in whole or in part
    "partitions.made",  # partitions of coming months were created
    "job.failed",  # warning: a job failed; its cron runs it again
    "erasure.done",  # erased persons are gone from PostgreSQL and Redis
    "archive.erased",  # an archive was rewritten without the data of erased persons
    "archive.newer",  # warning: lines of a later release were not searched for erased persons
    "replay.paused",  # warning: a replay is paused: too much of it cannot be recorded
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
        logger_factory=lambda *_: _Lines(stream or sys.stderr),
        cache_logger_on_first_use=True,
    )
    # What libraries say, asyncio of tasks that failed unseen among them.
    logging.basicConfig(handlers=[_Libraries()], level=logging.WARNING, force=True)


class _Lines(structlog.WriteLogger):
    """Log lines. One that a full disk does not take is given up, and nothing else."""

    @override
    def msg(self, message: str) -> None:
        with suppress(OSError):
            super().msg(message)

    debug = info = warning = error = msg


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
    """Warnings of one event that clients can cause without bound.

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


class _Libraries(logging.Handler):
    """Writes the warnings and errors of libraries as lines of ours."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._log = Log()

    @override
    def emit(self, record: logging.LogRecord) -> None:
        is_error = record.levelno >= logging.ERROR
        tell = self._log.error if is_error else self._log.warning
        facts: dict[str, object] = {
            "library": record.name,
            "text": record.getMessage(),
        }
        if record.exc_info:
            facts["exc_info"] = record.exc_info
        tell("library.said", **facts)


def _dumps(value: object, **_: object) -> str:
    text = orjson.dumps(value, default=str).decode()
    return _UNPRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
