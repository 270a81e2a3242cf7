"""The settings of a worker process, from its environment."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Final, Self, cast, get_args
from uuid import UUID

from ingest.contracts.placement.layout import Layout
from ingest.contracts.placement.streams_url import Placement, StreamServers
from ingest.contracts.variables import (
    DAY_SECONDS,
    NOWHERE,
    QUARANTINE_ROWS,
    Listening,
    LogLevel,
    SettingsError,
    StoreEmail,
    StoreIp,
    Tracing,
    Variables,
)
from workers.model.batch import ArchiveBoundary, Boundary

#: Of what clients cause: how many entries quarantine keeps, and for how many days.
QUARANTINE_DAYS: Final = 30
CUSTOMER_KEEP_DAYS: Final = 400

_LONGEST_NAME: Final = 100
_PLAIN_NAME: Final = re.compile(r"[A-Za-z0-9_-](?:[A-Za-z0-9._-])*")
#: Days that something may be kept: up to a century; 0 days: for good.
_KEEP_DAYS: Final = (0, 36_600)

_BOUNDARIES: Final = (*get_args(Boundary), *get_args(ArchiveBoundary))


@dataclass(frozen=True, slots=True)
class CrashAt:
    """Where tests want the worker to die: the boundary, when it is reached so often."""

    boundary: Boundary | ArchiveBoundary
    time: int


@dataclass(frozen=True, slots=True)
class Archiving:
    """Where to archive, when a segment ends, how long one is kept; 0 days: for good.

    `store` is the URL of an object store for copies of all segments; then it is files here
    that are kept so long.
    """

    directory: Path
    seconds: int
    keep_days: int
    store: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The worker's settings. `worker_name` is None where the machine's name will do."""

    redis_url: str = field(repr=False)
    arq_redis_url: str = field(repr=False)
    database_url: str = field(repr=False)
    data: Path
    layout: Layout
    streams: StreamServers = field(repr=False)
    batch_size: int
    gather_ms: int
    keep_hours: int
    worker_name: str | None
    geo_file: Path | None
    store_ip: StoreIp
    store_email: StoreEmail
    crash_at: CrashAt | None
    #: The event that tests want the worker to die over.
    crash_over: UUID | None
    log_level: LogLevel
    admin: Listening = NOWHERE
    #: Whether DATABASE_URL leads to a pooler in transaction mode.
    is_pooled: bool = False
    #: 0 days: for good.
    quarantine_rows: int = QUARANTINE_ROWS
    quarantine_days: int = QUARANTINE_DAYS
    customer_keep_days: int = CUSTOMER_KEEP_DAYS
    #: Fewer let tests see keys of Redis expire.
    day_seconds: int = DAY_SECONDS
    #: None where this worker does not archive.
    archive: Archiving | None = None
    tracing: Tracing | None = None

    @property
    def placement(self) -> Placement:
        """The shards and the servers of the streams."""
        return Placement(self.layout, self.streams)

    @property
    def shards(self) -> tuple[int, ...]:
        """Their numbers."""
        return self.layout.numbers

    @classmethod
    def load(cls, environment: Mapping[str, str]) -> Self:
        """Settings from variables; raises SettingsError for the first that is wrong."""
        given = Variables(environment)
        redis_url = given.redis_url("REDIS_URL")
        geo_file = given.text("REFTIDE_GEO_FILE")
        return cls(
            redis_url=redis_url,
            arq_redis_url=given.redis_url("ARQ_REDIS_URL", redis_url),
            database_url=_database_url(given),
            data=given.data(),
            layout=given.layout(),
            streams=given.stream_servers(),
            batch_size=given.number("REFTIDE_BATCH_SIZE", 500, (1, 5000)),
            gather_ms=given.number("REFTIDE_GATHER_MS", 50, (0, 1000)),
            keep_hours=given.number("REFTIDE_STREAM_KEEP_HOURS", 24, (0, 24 * 366)),
            worker_name=_worker_name(given),
            geo_file=Path(geo_file) if geo_file else None,
            store_ip=given.store_ip(),
            store_email=given.store_email(),
            crash_at=_crash_at(given),
            crash_over=_crash_over(given),
            log_level=given.log_level(),
            admin=given.admin(),
            is_pooled=given.is_pooled(),
            quarantine_rows=given.quarantine_rows(),
            quarantine_days=given.number(
                "REFTIDE_QUARANTINE_DAYS", QUARANTINE_DAYS, _KEEP_DAYS
            ),
            customer_keep_days=given.number(
                "REFTIDE_CUSTOMER_KEEP_DAYS", CUSTOMER_KEEP_DAYS, (1, 36_600)
            ),
            day_seconds=given.day_seconds(),
            archive=_archive(given),
            tracing=given.tracing(),
        )


def _database_url(given: Variables) -> str:
    url = given.text("DATABASE_URL")
    if not url:
        raise SettingsError(
            "DATABASE_URL is not set: give the URL of the PostgreSQL database that "
            "holds the records, or run `reftide up`, which brings its own"
        )
    if not url.startswith(("postgresql://", "postgres://")):
        raise SettingsError("DATABASE_URL must start with postgresql://")
    return url


def _archive(given: Variables) -> Archiving | None:
    seconds = given.number("REFTIDE_ARCHIVE_SECONDS", 300, (1, 86_400))
    keep_days = given.number("REFTIDE_ARCHIVE_KEEP_DAYS", 0, _KEEP_DAYS)
    directory, store = given.archive(), given.archive_store()
    if directory is None:
        return None
    if store and find_spec("obstore") is None:
        raise SettingsError(
            "REFTIDE_ARCHIVE_STORE needs a library: install reftide[s3], or unset it"
        )
    return Archiving(directory, seconds, keep_days, store)


def _worker_name(given: Variables) -> str | None:
    name = given.text("REFTIDE_WORKER_NAME")
    if not name:
        return None
    # It names a lock file and a Redis key, and stands in logs.
    if len(name) > _LONGEST_NAME or not _PLAIN_NAME.fullmatch(name):
        raise SettingsError(
            f"REFTIDE_WORKER_NAME is {name!r}: give letters, digits, dots, dashes and "
            f"underscores, at most {_LONGEST_NAME}, not beginning with a dot"
        )
    return name


def _crash_over(given: Variables) -> UUID | None:
    text = given.text("REFTIDE_CRASH_OVER")
    try:
        return UUID(text) if text else None
    except ValueError as error:
        raise SettingsError(
            f"REFTIDE_CRASH_OVER is {text!r}: it is for tests only; unset it, or give the"
            " id of an event"
        ) from error


def _crash_at(given: Variables) -> CrashAt | None:
    text = given.text("REFTIDE_CRASH_AT")
    if not text:
        return None
    name, _, times = text.partition(":")
    if name not in _BOUNDARIES or not (times or "1").isdecimal():
        raise SettingsError(
            f"REFTIDE_CRASH_AT is {text!r}: it is for tests only; unset it, or give one "
            f"of {', '.join(_BOUNDARIES)}, and after a colon which time"
        )
    return CrashAt(cast("Boundary | ArchiveBoundary", name), int(times or "1"))
