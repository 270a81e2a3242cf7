"""What a worker process is told by its environment. Used by `main` and what it composes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, Self, cast, get_args

from workers.batch import Boundary

StoreIp = Literal["truncated", "full", "none"]
LogLevel = Literal["debug", "info", "warning", "error"]

_MOST_SHARDS: Final = 1024
_LARGEST_BATCH: Final = 5000
_LONGEST_NAME: Final = 100


class SettingsError(Exception):
    """A variable that is missing or wrong, and what to do about it."""


@dataclass(frozen=True, slots=True)
class CrashAt:
    """Where tests want the worker to die: the boundary, when it is reached so often."""

    boundary: Boundary
    time: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The worker's settings. `worker_name` is None where the machine's name will do."""

    redis_url: str = field(repr=False)
    arq_redis_url: str = field(repr=False)
    database_url: str = field(repr=False)
    data: Path
    shards: int
    batch_size: int
    worker_name: str | None
    geo_file: Path | None
    store_ip: StoreIp
    crash_at: CrashAt | None
    log_level: LogLevel

    @classmethod
    def load(cls, environment: Mapping[str, str]) -> Self:
        """Settings from variables; raises SettingsError for the first that is wrong."""
        given = {name: text.strip() for name, text in environment.items()}
        redis_url = _redis_url(given, "REDIS_URL")
        return cls(
            redis_url=redis_url,
            arq_redis_url=_redis_url(given, "ARQ_REDIS_URL", redis_url),
            database_url=_database_url(given),
            data=Path(given.get("REFTIDE_DATA") or ".reftide"),
            shards=_number(given, "REFTIDE_SHARDS", 4, _MOST_SHARDS),
            batch_size=_number(given, "REFTIDE_BATCH_SIZE", 500, _LARGEST_BATCH),
            worker_name=_worker_name(given),
            geo_file=_geo_file(given),
            store_ip=cast(
                "StoreIp", _choice(given, "REFTIDE_STORE_IP", get_args(StoreIp))
            ),
            crash_at=_crash_at(given),
            log_level=cast(
                "LogLevel",
                _choice(given, "REFTIDE_LOG_LEVEL", get_args(LogLevel), "info"),
            ),
        )


def _redis_url(given: Mapping[str, str], name: str, default: str = "") -> str:
    url = given.get(name) or default
    if not url:
        raise SettingsError(
            f"{name} is not set: give the URL of the Redis or Valkey that holds the "
            "events, or run `reftide up`, which brings its own"
        )
    if not url.startswith(("redis://", "rediss://", "unix://")):
        raise SettingsError(f"{name} must start with redis://, rediss:// or unix://")
    return url


def _database_url(given: Mapping[str, str]) -> str:
    url = given.get("DATABASE_URL", "")
    if not url:
        raise SettingsError(
            "DATABASE_URL is not set: give the URL of the PostgreSQL database that "
            "holds the records, or run `reftide up`, which brings its own"
        )
    if not url.startswith(("postgresql://", "postgres://")):
        raise SettingsError("DATABASE_URL must start with postgresql://")
    return url


def _number(given: Mapping[str, str], name: str, default: int, highest: int) -> int:
    text = given.get(name) or str(default)
    # isdecimal() alone lets other scripts' digits through.
    number = int(text) if text.isascii() and text.isdecimal() else 0
    if not 1 <= number <= highest:
        raise SettingsError(
            f"{name} is {text!r}: give a whole number from 1 to {highest}"
        )
    return number


def _worker_name(given: Mapping[str, str]) -> str | None:
    name = given.get("REFTIDE_WORKER_NAME")
    if not name:
        return None
    # It names a lock file and a Redis key, and stands in logs.
    if len(name) > _LONGEST_NAME or not _is_plain(name):
        raise SettingsError(
            f"REFTIDE_WORKER_NAME is {name!r}: give letters, digits, dots, dashes and "
            f"underscores, at most {_LONGEST_NAME}, not beginning with a dot"
        )
    return name


def _is_plain(name: str) -> bool:
    letters = name.translate(str.maketrans("", "", ".-_"))
    return name[0] != "." and letters.isascii() and letters.isalnum()


def _geo_file(given: Mapping[str, str]) -> Path | None:
    path = given.get("REFTIDE_GEO_FILE")
    return Path(path) if path else None


def _crash_at(given: Mapping[str, str]) -> CrashAt | None:
    text = given.get("REFTIDE_CRASH_AT")
    if not text:
        return None
    name, _, times = text.partition(":")
    if name not in get_args(Boundary) or not (times or "1").isdecimal():
        raise SettingsError(
            f"REFTIDE_CRASH_AT is {text!r}: it is for tests only; unset it, or give one "
            f"of {', '.join(get_args(Boundary))}, and after a colon which time"
        )
    return CrashAt(cast("Boundary", name), int(times or "1"))


def _choice(
    given: Mapping[str, str],
    name: str,
    choices: tuple[str, ...],
    default: str | None = None,
) -> str:
    text = given.get(name, "").lower() or default or choices[0]
    if text not in choices:
        raise SettingsError(f"{name} is {text!r}: give one of {', '.join(choices)}")
    return text
