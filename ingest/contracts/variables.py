"""Reading settings out of environment variables.

Every error names the variable and says what to give instead.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, NamedTuple, TypeVar
from urllib.parse import SplitResult, parse_qsl, urlsplit

from ingest.contracts.placement.layout import Layout
from ingest.contracts.placement.streams_url import StreamServers, stream_servers
from ingest.contracts.redis_address import redis_address

StoreIp = Literal["truncated", "full", "none"]
StoreEmail = Literal["encrypted", "plain", "none"]
Gpc = Literal["anonymous", "count", "refuse"]
LogLevel = Literal["debug", "info", "warning", "error"]
Intake = Literal["auto", "spool", "refuse"]
Pooler = Literal["none", "transaction"]

STORE_IP: Final[tuple[StoreIp, ...]] = ("truncated", "full", "none")
STORE_EMAIL: Final[tuple[StoreEmail, ...]] = ("encrypted", "plain", "none")
GPC: Final[tuple[Gpc, ...]] = ("anonymous", "count", "refuse")
LOG_LEVELS: Final[tuple[LogLevel, ...]] = ("info", "debug", "warning", "error")
INTAKES: Final[tuple[Intake, ...]] = ("auto", "spool", "refuse")
POOLERS: Final[tuple[Pooler, ...]] = ("none", "transaction")

#: Shards, as every process of an installation must have them.
DEFAULT_SHARDS: Final = 4
#: On servers of their own; 2, 3, 4, 6 or 12 of them have equal shares.
DEFAULT_SHARDS_APART: Final = 12
_MOST_SHARDS: Final = 1024
_MOST_PORTS: Final = 65535
_MOST_REPLICAS: Final = 16

Choice = TypeVar("Choice", bound=str)


class Listening(NamedTuple):
    """Where to listen; nowhere where the port is 0."""

    host: str = "127.0.0.1"
    port: int = 0


NOWHERE: Final = Listening()


@dataclass(frozen=True, slots=True)
class Replicas:
    """How many replicas have to confirm an append, and whether from their disks."""

    count: int = 0
    is_synced: bool = False


NO_REPLICAS: Final = Replicas()


class Tracing(NamedTuple):
    """Which requests are traced.

    Of those whose callers ask for it, and of one in `one_in` others, at most `per_second` of
    one edge each; 0: none.
    """

    per_second: int
    one_in: int = 0


QUARANTINE_ROWS: Final = 100_000
DAY_SECONDS: Final = 24 * 3600


class SettingsError(Exception):
    """A variable that is missing or wrong, and what to do about it."""


class Variables:
    """The environment, read with care. All readers raise SettingsError."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        """Blank variables are as good as unset ones."""
        self._given = {name: text.strip() for name, text in environment.items()}

    def text(self, name: str, default: str = "") -> str:
        return self._given.get(name) or default

    def items(self, name: str) -> list[str]:
        """Values separated by commas."""
        parts = (part.strip() for part in self.text(name).split(","))
        return [part for part in parts if part]

    def number(self, name: str, default: int, bounds: tuple[int, int]) -> int:
        lowest, highest = bounds
        text = self.text(name, str(default))
        # isdecimal() alone lets other scripts' digits through.
        number = int(text) if text.isascii() and text.isdecimal() else -1
        if not lowest <= number <= highest:
            raise SettingsError(
                f"{name} is {text!r}: give a whole number from {lowest} to {highest}"
            )
        return number

    def choice(self, name: str, choices: tuple[Choice, ...]) -> Choice:
        """One of the choices; the first is the default."""
        text = self.text(name, choices[0]).lower()
        for choice in choices:
            if text == choice:
                return choice
        raise SettingsError(f"{name} is {text!r}: give one of {', '.join(choices)}")

    def redis_url(self, name: str, default: str = "") -> str:
        url = self.text(name, default)
        if not url:
            raise SettingsError(
                f"{name} is not set: give the URL of the Redis or Valkey that holds the "
                "events, or run `reftide up`, which brings its own"
            )
        try:
            redis_address(url)
        except ValueError as error:
            raise SettingsError(f"{name} {error}") from error
        return url

    def data(self) -> Path:
        """The data directory."""
        return Path(self.text("REFTIDE_DATA", ".reftide"))

    def archive(self) -> Path | None:
        """The directory of the archive; None where there is none."""
        text = self.text("REFTIDE_ARCHIVE")
        return None if text.lower() in ("", "off") else Path(text)

    def archive_store(self) -> str | None:
        """The URL of the object store for the archive; None where there is none."""
        url = self.text("REFTIDE_ARCHIVE_STORE")
        if url and not is_store(urlsplit(url)):
            raise SettingsError(
                "REFTIDE_ARCHIVE_STORE must be s3://bucket/prefix, with ?endpoint=URL and"
                " &region=NAME where the environment does not say them, or"
                " file:///directory"
            )
        return url or None

    def admin(self) -> Listening:
        """Where figures and health are shown."""
        host = self.text("REFTIDE_ADMIN_HOST", NOWHERE.host)
        return Listening(host, self.number("REFTIDE_ADMIN_PORT", 0, (0, _MOST_PORTS)))

    def admin_urls(self) -> Sequence[str]:
        """Where commands find the figures of processes that are elsewhere."""
        urls = [url.rstrip("/") for url in self.items("REFTIDE_ADMIN_URLS")]
        for url in urls:
            if not url.startswith(("http://", "https://")) or not urlsplit(url).netloc:
                raise SettingsError(
                    f"REFTIDE_ADMIN_URLS holds {url!r}: give the URLs of admin ports,"
                    " such as http://10.0.0.5:9100, separated by commas"
                )
        return urls

    def stream_servers(self) -> StreamServers:
        """The servers of the streams."""
        try:
            return stream_servers(self.text("STREAMS_URL"), self.text("REDIS_URL"))
        except ValueError as error:
            raise SettingsError(
                f"STREAMS_URL {error}. Give the servers of the streams, such as"
                " redis://a:6379,redis://b:6379 or redis+cluster://a:6379,b:6379, or unset"
                " it"
            ) from error

    def shards(self) -> int:
        return len(self.layout().numbers)

    def layout(self) -> Layout:
        """The shards, as they would be at a first start."""
        servers = self.stream_servers()
        usual = DEFAULT_SHARDS_APART if servers.are_apart else DEFAULT_SHARDS
        shards = self.number("REFTIDE_SHARDS", usual, (1, _MOST_SHARDS))
        if shards < len(servers.urls) and not servers.is_cluster:
            raise SettingsError(
                f"REFTIDE_SHARDS is {shards}, which is fewer than STREAMS_URL has servers:"
                f" give {len(servers.urls)} or more, at best a multiple of it"
            )
        if servers.are_apart:
            return Layout.apart(shards, servers.kind)
        return Layout.at_home(shards)

    def replicas(self) -> Replicas:
        """How many replicas have to confirm an append."""
        count = self.number("REFTIDE_REPLICAS", 0, (0, _MOST_REPLICAS))
        is_synced = bool(self.number("REFTIDE_REPLICAS_FSYNC", 0, (0, 1)))
        if is_synced and not count:
            raise SettingsError(
                "REFTIDE_REPLICAS_FSYNC needs REFTIDE_REPLICAS: set that to how many"
                " replicas have to have an event on their disks, or unset both"
            )
        return Replicas(count, is_synced)

    def is_pooled(self) -> bool:
        """Whether a pooler gives each transaction any connection of PostgreSQL."""
        return self.choice("REFTIDE_POOLER", POOLERS) == "transaction"

    def day_seconds(self) -> int:
        """How long a day of an expiry in Redis lasts."""
        return self.number("REFTIDE_DAY_SECONDS", DAY_SECONDS, (1, DAY_SECONDS))

    def quarantine_rows(self) -> int:
        """How many entries that clients caused quarantine keeps."""
        return self.number("REFTIDE_QUARANTINE_ROWS", QUARANTINE_ROWS, (0, 100_000_000))

    def tracing(self) -> Tracing | None:
        """Which requests are traced; None where none is."""
        per_second = self.number("REFTIDE_TRACES_PER_SECOND", 0, (0, 1000))
        one_in = self.number("REFTIDE_TRACE_ONE_IN", 0, (0, 1_000_000_000))
        if one_in and not per_second:
            raise SettingsError(
                "REFTIDE_TRACE_ONE_IN needs REFTIDE_TRACES_PER_SECOND: set that to how"
                " many requests a second each edge may trace, or unset both"
            )
        return Tracing(per_second, one_in) if per_second else None

    def store_ip(self) -> StoreIp:
        return self.choice("REFTIDE_STORE_IP", STORE_IP)

    def store_email(self) -> StoreEmail:
        return self.choice("REFTIDE_STORE_EMAIL", STORE_EMAIL)

    def gpc(self) -> Gpc:
        """What becomes of events of browsers that send Global Privacy Control."""
        return self.choice("REFTIDE_GPC", GPC)

    def log_level(self) -> LogLevel:
        return self.choice("REFTIDE_LOG_LEVEL", LOG_LEVELS)


def is_store(url: SplitResult) -> bool:
    """Whether it names an object store: a bucket, or a directory."""
    if url.scheme == "file":
        return not url.netloc and len(url.path) > 1 and not url.query
    names = {name for name, _ in parse_qsl(url.query, keep_blank_values=True)}
    has_password = "@" in url.netloc
    return (
        url.scheme == "s3"
        and bool(url.netloc)
        and not has_password
        and names <= {"endpoint", "region"}
    )
