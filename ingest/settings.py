"""The settings of an edge process, from its environment."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Final, Self

from ingest.contracts.clickid import KeyRing
from ingest.contracts.placement.layout import Layout
from ingest.contracts.placement.streams_url import AT_HOME, StreamServers
from ingest.contracts.variables import (
    DAY_SECONDS,
    INTAKES,
    NO_REPLICAS,
    NOWHERE,
    Gpc,
    Intake,
    Listening,
    LogLevel,
    Replicas,
    SettingsError,
    StoreEmail,
    StoreIp,
    Tracing,
    Variables,
)

Network = IPv4Network | IPv6Network

#: By default.
SHARED_MEMORY: Final = "/dev/shm"  # noqa: S108 -- its files are of this user and locked

_SECRET_CHARS: Final = 16
_MOST_PORTS: Final = 65535
_MOST_BYTES: Final = 1 << 50
_MOST_RATE: Final = 1_000_000
_MOST: Final = 1 << 40
_MOST_DRAIN_SECONDS: Final = 600
#: The first descriptor that systemd hands over; see sd_listen_fds(3).
_HANDED_OVER: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Spooling:
    """When events go to the disk of the edge, how many, and how fast they come back."""

    #: Bytes on the disk; 0: no spool.
    most_bytes: int
    #: Events a second.
    drain_rate: int
    intake: Intake
    #: From where on the stream is spared; 0: never for that reason. First, of Redis'
    #: `maxmemory`, in per cent.
    memory: int
    #: Entries that no worker has acknowledged.
    unread: int
    #: Seconds that the oldest of them has waited.
    age: int

    @classmethod
    def load(cls, given: Variables) -> Self:
        number = given.number
        return cls(
            most_bytes=number("REFTIDE_SPOOL_BYTES", 1 << 30, (0, _MOST_BYTES)),
            drain_rate=number("REFTIDE_DRAIN_RATE", 2000, (1, _MOST_RATE)),
            intake=given.choice("REFTIDE_INTAKE", INTAKES),
            memory=number("REFTIDE_SPOOL_AT_MEMORY", 80, (0, 100)),
            unread=number("REFTIDE_SPOOL_AT_UNREAD", 10_000_000, (0, _MOST)),
            age=number("REFTIDE_SPOOL_AT_AGE", 86_400, (0, _MOST)),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeSettings:
    """The edge's settings. `secrets` are the current one, then those it only verifies."""

    redis_url: str = field(repr=False)
    secrets: tuple[bytes, ...] = field(repr=False)
    data: Path
    layout: Layout
    host: str
    port: int
    trusted_proxies: tuple[Network, ...]
    store_ip: StoreIp
    store_email: StoreEmail
    gpc: Gpc
    #: The files under `/.well-known`; None: there are none.
    well_known: Path | None
    log_level: LogLevel
    spooling: Spooling
    #: How long it still takes requests after SIGTERM.
    drain_seconds: int = 0
    #: The descriptor of a socket that another process keeps open, in place of host and port.
    listener: int | None = None
    admin: Listening = NOWHERE
    #: Fewer let tests see keys of Redis expire.
    day_seconds: int = DAY_SECONDS
    tracing: Tracing | None = None
    #: A folder in memory that outlives the process; None: nothing of it does.
    shared_memory: Path | None = None
    streams: StreamServers = field(default=AT_HOME, repr=False)
    #: Those that have to confirm an append before it is answered.
    replicas: Replicas = NO_REPLICAS

    @property
    def shards_at_home(self) -> tuple[int, ...]:
        """The shards where `REDIS_URL` leads."""
        return () if self.streams.are_apart else self.layout.numbers

    @classmethod
    def load(cls, environment: Mapping[str, str]) -> Self:
        """Settings from variables; raises SettingsError for the first that is wrong."""
        given = Variables(environment)
        return cls(
            redis_url=given.redis_url("REDIS_URL"),
            secrets=_secrets(given),
            data=given.data(),
            layout=given.layout(),
            host=given.text("REFTIDE_HOST", "127.0.0.1"),
            port=given.number("REFTIDE_PORT", 8080, (0, _MOST_PORTS)),
            trusted_proxies=_networks(given, "REFTIDE_TRUSTED_PROXIES"),
            store_ip=given.store_ip(),
            store_email=given.store_email(),
            gpc=given.gpc(),
            well_known=_folder(given, "REFTIDE_WELL_KNOWN"),
            log_level=given.log_level(),
            spooling=Spooling.load(given),
            drain_seconds=given.number(
                "REFTIDE_DRAIN_SECONDS", 0, (0, _MOST_DRAIN_SECONDS)
            ),
            listener=_listener(given),
            admin=given.admin(),
            day_seconds=given.day_seconds(),
            tracing=given.tracing(),
            shared_memory=_shared_memory(given),
            streams=given.stream_servers(),
            replicas=given.replicas(),
        )


def _secrets(given: Variables) -> tuple[bytes, ...]:
    current = given.text("REFTIDE_SECRET")
    if len(current) < _SECRET_CHARS:
        raise SettingsError(
            f"REFTIDE_SECRET must be set to {_SECRET_CHARS} or more characters that "
            "nobody can guess: it signs click ids and hashes API keys"
        )
    previous = given.items("REFTIDE_SECRET_PREVIOUS")
    if any(len(secret) < _SECRET_CHARS for secret in previous):
        raise SettingsError(
            "REFTIDE_SECRET_PREVIOUS holds a secret of fewer than "
            f"{_SECRET_CHARS} characters: give whole secrets, separated by commas"
        )
    secrets = tuple(secret.encode() for secret in (current, *previous))
    try:
        KeyRing(secrets)
    except ValueError as error:
        raise SettingsError(
            "REFTIDE_SECRET and REFTIDE_SECRET_PREVIOUS repeat a secret, or two of "
            "them have the same key id by chance: choose another REFTIDE_SECRET"
        ) from error
    return secrets


def _listener(given: Variables) -> int | None:
    if given.text("LISTEN_PID") != str(os.getpid()):
        return None  # it was meant for a process that started this one
    if given.text("LISTEN_FDS") != "1":
        raise SettingsError(
            f"LISTEN_FDS is {given.text('LISTEN_FDS')!r}: hand an edge one socket over"
        )
    return _HANDED_OVER


def _folder(given: Variables, name: str) -> Path | None:
    text = given.text(name)
    if text and not (Path(text).is_dir() and os.access(text, os.R_OK | os.X_OK)):
        raise SettingsError(f"{name} is {text!r}: give a directory that can be read")
    return Path(text) if text else None


def _shared_memory(given: Variables) -> Path | None:
    text = given.text("REFTIDE_SHARED_MEMORY", SHARED_MEMORY)
    return None if text.lower() == "off" else Path(text)


def _networks(given: Variables, name: str) -> tuple[Network, ...]:
    try:
        return tuple(ip_network(part) for part in given.items(name))
    except ValueError as error:
        raise SettingsError(
            f"{name}: {error}. Give networks such as 10.0.0.0/8, separated by commas"
        ) from error
