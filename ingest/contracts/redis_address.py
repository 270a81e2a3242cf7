"""URLs of Redis: of one server, or of sentinels that know which server is the primary."""

from typing import Final, NamedTuple
from urllib.parse import SplitResult, parse_qsl, unquote, urlencode, urlsplit

_SENTINEL_PORT: Final = 26379
_SERVERS: Final = ("redis", "rediss", "unix")
_SENTINELS: Final = {"redis+sentinel": "redis", "rediss+sentinel": "rediss"}
_FORM: Final = "redis+sentinel://host:port,host:port/service?db=0"


class RedisAddress(NamedTuple):
    """Where Redis is, in words of redis-py."""

    #: Of the server. With sentinels it has what all servers share and not which one it is.
    url: str
    #: Hosts and ports; none where `url` names the server.
    sentinels: tuple[tuple[str, int], ...] = ()
    #: What sentinels call the primary and its replicas.
    service: str = ""
    #: For sentinels only.
    username: str | None = None
    password: str | None = None


def redis_address(url: str) -> RedisAddress:
    """Take a URL apart; raises ValueError, which says what to give."""
    scheme = url.partition("://")[0]
    if scheme in _SERVERS:
        return RedisAddress(url)
    if scheme not in _SENTINELS:
        raise ValueError(
            "must start with redis://, rediss://, unix://, redis+sentinel:// or"
            " rediss+sentinel://"
        )
    try:
        return _sentinel_address(urlsplit(url), _SENTINELS[scheme])
    except ValueError as error:
        raise ValueError(f"must be like {_FORM}: {error}") from error


def _sentinel_address(url: SplitResult, scheme: str) -> RedisAddress:
    user, _, hosts = url.netloc.rpartition("@")
    service, _, database = url.path.lstrip("/").partition("/")
    if not service:
        raise ValueError("it names no service")
    query = dict(parse_qsl(url.query))
    username = query.pop("sentinel_username", None)
    password = query.pop("sentinel_password", None)
    if database:
        query.setdefault("db", database)
    if not query.get("db", "0").isdecimal():
        raise ValueError("db is no number")
    # The host is never asked for.
    server = f"{scheme}://{f'{user}@' if user else ''}primary?{urlencode(query)}"
    return RedisAddress(
        server,
        tuple(_host_and_port(each) for each in hosts.split(",")),
        unquote(service),
        username,
        password,
    )


def _host_and_port(text: str) -> tuple[str, int]:
    parts = urlsplit(f"//{text.strip()}")
    if not parts.hostname:
        raise ValueError("a sentinel has no host")
    return parts.hostname, parts.port or _SENTINEL_PORT
