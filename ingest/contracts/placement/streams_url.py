"""`STREAMS_URL`: the servers of the streams, if they are not where `REDIS_URL` leads."""

import re
from typing import Final, NamedTuple
from urllib.parse import urlsplit, urlunsplit

from ingest.contracts.placement.cluster import Node
from ingest.contracts.placement.layout import Layout
from ingest.contracts.redis_address import redis_address
from ingest.contracts.stream import PLACE_KEY

#: A comma in front of a URL; others are between the sentinels of one.
_COMMA: Final = re.compile(r"\s*,\s*(?=[a-z][a-z+]*://)")


_CLUSTERS: Final = {"redis+cluster": "redis", "rediss+cluster": "rediss"}
_PORT: Final = 6379
_FORM: Final = "redis+cluster://host:port,host:port"


class StreamServers(NamedTuple):
    """The servers of a list, in its order; or some nodes of a cluster, which know the others."""

    #: None: the streams are where `REDIS_URL` leads.
    urls: tuple[str, ...] = ()
    is_cluster: bool = False

    @property
    def kind(self) -> str:
        """How `Layout.apart` writes down where the shards are."""
        return "a cluster" if self.is_cluster else f"{len(self.urls)} servers"

    @property
    def are_apart(self) -> bool:
        """Whether the streams have servers of their own."""
        return bool(self.urls)


AT_HOME: Final = StreamServers()


class Placement(NamedTuple):
    """Which shards there are, and where."""

    layout: Layout
    servers: StreamServers


def stream_servers(text: str, home: str) -> StreamServers:
    """Take `STREAMS_URL` apart; `home` is `REDIS_URL`.

    Raises ValueError, which says what to give.
    """
    if text in {"", home}:
        return AT_HOME
    if text.partition("://")[0] in _CLUSTERS:
        return StreamServers(_seeds(text), is_cluster=True)
    urls = tuple(_COMMA.split(text))
    for url in urls:
        address = redis_address(url)
        if not address.sentinels and "," in urlsplit(url).netloc.rpartition("@")[2]:
            raise ValueError("must have a whole URL for each server")
    if len({*urls}) < len(urls):
        raise ValueError("names a server twice")
    return StreamServers(urls)


def _seeds(text: str) -> tuple[str, ...]:
    parts = urlsplit(text)
    if parts.path not in {"", "/", "/0"}:
        raise ValueError(f"must be like {_FORM}: a cluster has only database 0")
    user, _, hosts = parts.netloc.rpartition("@")
    secret = f"{user}@" if user else ""
    url = parts._replace(scheme=_CLUSTERS[parts.scheme], path="")
    found = tuple(
        urlunsplit(url._replace(netloc=f"{secret}{host.strip()}"))
        for host in hosts.split(",")
    )
    for each in found:
        try:
            node_of(each)
        except ValueError as error:
            raise ValueError(f"must be like {_FORM}: {error}") from error
    return found


def node_of(url: str) -> Node:
    """Where a node of a cluster is by its URL; raises ValueError."""
    parts = urlsplit(url)
    if not parts.hostname:
        raise ValueError("a node has no host")
    return Node(parts.hostname, parts.port or _PORT)


def url_at(url: str, node: Node) -> str:
    """The URL of another node of the same cluster."""
    parts = urlsplit(url)
    user, _, _ = parts.netloc.rpartition("@")
    host = f"[{node.host}]" if ":" in node.host else node.host
    secret = f"{user}@" if user else ""
    return urlunsplit(parts._replace(netloc=f"{secret}{host}:{node.port}"))


def without_secrets(url: str) -> str:
    """What a server may be called in logs: without user, password and query."""
    parts = urlsplit(url)
    return f"{parts.netloc.rpartition('@')[2]}{parts.path}".removesuffix("/0")


def place_of(index: int, servers: int) -> bytes:
    """What `PLACE_KEY` says on a server: which of how many it is."""
    return b"%d of %d" % (index + 1, servers)


def misplaced(found: bytes, wanted: bytes) -> str:
    """What to do about a server whose place is another one than this process has."""
    return (
        f"it is {found.decode('utf-8', 'replace')} to others and {wanted.decode()} here:"
        " give all processes the same STREAMS_URL, in the same order; where this one is"
        f" right, delete {PLACE_KEY} on the server"
    )
