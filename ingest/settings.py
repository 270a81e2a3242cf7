"""What an edge process is told by its environment. Used by anyone in `ingest`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Final, Literal, Self, cast, get_args

from ingest.contracts.clickid import KeyRing

Network = IPv4Network | IPv6Network
StoreIp = Literal["truncated", "full", "none"]
LogLevel = Literal["debug", "info", "warning", "error"]

_SECRET_CHARS: Final = 16
_MOST_SHARDS: Final = 1024
_MOST_PORTS: Final = 65535


class SettingsError(Exception):
    """A variable that is missing or wrong, and what to do about it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The edge's settings. `secrets` are the current one, then those it only verifies."""

    redis_url: str = field(repr=False)
    secrets: tuple[bytes, ...] = field(repr=False)
    data: Path
    shards: int
    host: str
    port: int
    trusted_proxies: tuple[Network, ...]
    store_ip: StoreIp
    log_level: LogLevel

    @classmethod
    def load(cls, environment: Mapping[str, str]) -> Self:
        """Settings from variables; raises SettingsError for the first that is wrong."""
        given = {name: text.strip() for name, text in environment.items()}
        return cls(
            redis_url=_redis_url(given),
            secrets=_secrets(given),
            data=Path(given.get("REFTIDE_DATA") or ".reftide"),
            shards=_number(given, "REFTIDE_SHARDS", 4, (1, _MOST_SHARDS)),
            host=given.get("REFTIDE_HOST") or "127.0.0.1",
            port=_number(given, "REFTIDE_PORT", 8080, (0, _MOST_PORTS)),
            trusted_proxies=_networks(given, "REFTIDE_TRUSTED_PROXIES"),
            store_ip=cast(
                "StoreIp", _choice(given, "REFTIDE_STORE_IP", get_args(StoreIp))
            ),
            log_level=cast(
                "LogLevel",
                _choice(given, "REFTIDE_LOG_LEVEL", get_args(LogLevel), "info"),
            ),
        )


def _redis_url(given: Mapping[str, str]) -> str:
    url = given.get("REDIS_URL", "")
    if not url:
        raise SettingsError(
            "REDIS_URL is not set: give the URL of the Redis or Valkey that holds the "
            "events, or run `reftide up`, which brings its own"
        )
    if not url.startswith(("redis://", "rediss://", "unix://")):
        raise SettingsError("REDIS_URL must start with redis://, rediss:// or unix://")
    return url


def _secrets(given: Mapping[str, str]) -> tuple[bytes, ...]:
    current = given.get("REFTIDE_SECRET", "")
    if len(current) < _SECRET_CHARS:
        raise SettingsError(
            f"REFTIDE_SECRET must be set to {_SECRET_CHARS} or more characters that "
            "nobody can guess: it signs click ids and hashes API keys"
        )
    previous = _items(given, "REFTIDE_SECRET_PREVIOUS")
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


def _items(given: Mapping[str, str], name: str) -> list[str]:
    parts = (part.strip() for part in given.get(name, "").split(","))
    return [part for part in parts if part]


def _number(
    given: Mapping[str, str], name: str, default: int, bounds: tuple[int, int]
) -> int:
    lowest, highest = bounds
    text = given.get(name) or str(default)
    # isdecimal() alone lets other scripts' digits through.
    number = int(text) if text.isascii() and text.isdecimal() else -1
    if not lowest <= number <= highest:
        raise SettingsError(
            f"{name} is {text!r}: give a whole number from {lowest} to {highest}"
        )
    return number


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


def _networks(given: Mapping[str, str], name: str) -> tuple[Network, ...]:
    try:
        return tuple(ip_network(part) for part in _items(given, name))
    except ValueError as error:
        raise SettingsError(
            f"{name}: {error}. Give networks such as 10.0.0.0/8, separated by commas"
        ) from error
