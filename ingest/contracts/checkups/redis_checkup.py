"""What to ask Redis about itself, and what its replies mean.

Pure: the caller sends the questions in one pipeline, and passes the replies on, errors
among them.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import not_
from typing import Any, Final

from ingest.contracts.checkups.checkup import Check, Rule, Rules, among, size
from ingest.contracts.placement.layout import described
from ingest.contracts.stream import GROUP, SHARDS_KEY, events_key
from ingest.contracts.variables import NO_REPLICAS, Replicas

_LEAST: Final = {"Redis": (7, 0), "Valkey": (8, 0)}

#: From where on edges spare the stream, in per cent of Redis' memory, and where it ends.
_MEMORY_WARN: Final = 80
_MEMORY_WRONG: Final = 95

#: So many of them are looked at.
_MOST_REPLICAS: Final = 64
#: Seconds for which a primary that lost its replicas may go on.
_LAG_SECONDS: Final = range(1, 11)

_SETTINGS: Final = (
    "appendonly", "appendfsync", "maxmemory", "maxmemory-policy",
    "no-appendfsync-on-rewrite", "min-replicas-to-write", "min-replicas-max-lag",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisFacts:
    """What Redis says of itself.

    `info` is its INFO, `settings` what CONFIG GET tells, None where it is forbidden;
    `clock` is in Unix seconds; the shards are as `placement.layout` writes them down;
    `without_group` names those that have none, None if they were not asked for.
    """

    info: Mapping[str, Any]
    settings: Mapping[str, str] | None
    clock: float
    shards_stored: bytes | None
    shards_wanted: bytes
    without_group: tuple[int, ...] | None = None
    #: Those that an append has to be confirmed by.
    replicas: Replicas = NO_REPLICAS
    #: What a replica's `appendonly` and `appendfsync` are, by its address; None: not asked.
    replica_files: Mapping[str, tuple[str, str]] | None = None

    @property
    def connected(self) -> Sequence[tuple[str, int]]:
        """The addresses of the replicas that have what the primary has."""
        found = (self.info.get(f"slave{number}") for number in range(_MOST_REPLICAS))
        return [
            (each["ip"], each["port"])
            for each in found
            if each and each["state"] == "online"
        ]


def redis_questions(
    shards: Sequence[int] = (), *, is_home: bool = True
) -> list[tuple[str, ...]]:
    """The commands to send, in one pipeline; for the groups of these shards.

    `is_home`: `REDIS_URL` leads there. Elsewhere nothing says which shards there are.
    """
    return [
        ("INFO",),
        ("CONFIG GET", *_SETTINGS),
        ("TIME",),
        *(("XINFO GROUPS", events_key(shard)) for shard in shards),
        *([("GET", SHARDS_KEY)] if is_home else ()),
    ]


def redis_facts(
    replies: Sequence[Any], shards_wanted: bytes, shards: Sequence[int] = ()
) -> RedisFacts:
    """What the replies to those questions say, errors among them.

    Raises the first error that is not about a thing forbidden or missing.
    """
    info, settings, clock, *rest = replies
    groups, (stored, *_) = rest[: len(shards)], (*rest[len(shards) :], None)
    for reply in (info, clock, stored):
        if isinstance(reply, Exception):
            raise reply
    seconds, micros = clock
    is_told = not isinstance(settings, Exception)
    return RedisFacts(
        info=info,
        settings=_texts(settings) if is_told else None,
        clock=seconds + micros / 1e6,
        shards_stored=stored,
        shards_wanted=shards_wanted,
        without_group=_without_group(shards, groups) if shards else None,
    )


def check_redis(facts: RedisFacts) -> Iterator[Check]:
    """Everything about one Redis."""
    info, settings = facts.info, facts.settings or {}
    # Valkey calls itself Redis 7.2.4 for old clients; its own version stands beside it.
    valkey = info.get("valkey_version")
    # INFO has some of what CONFIG GET may be forbidden to tell.
    told = {
        "appendonly": "yes" if info.get("aof_enabled") else "no",
        "appendfsync": UNREADABLE,
        "maxmemory-policy": info.get("maxmemory_policy", ""),
        **settings,
    }
    limit = int(settings.get("maxmemory", info.get("maxmemory", 0)))
    known = {
        **told,
        "version": ("Valkey", valkey) if valkey else ("Redis", info["redis_version"]),
        "role": info.get("role", ""),
        "last write": info.get("aof_last_write_status", "ok"),
        "maxmemory": limit,
        "memory": 100 * int(info["used_memory"]) // limit if limit else None,
        **_replication(facts, settings),
        "shards": (facts.shards_stored, facts.shards_wanted),
        "groups": facts.without_group,
    }
    return _RULES.judge(known)


def _replication(
    facts: RedisFacts, settings: Mapping[str, str]
) -> dict[str, object | None]:
    """What is known of replicas; one that nobody relies on needs no settings."""
    wanted, least = facts.replicas, settings.get("min-replicas-to-write")
    has_some = bool(facts.info.get("connected_slaves"))
    lag = settings.get("min-replicas-max-lag")
    return {
        "replicas": (len(facts.connected), wanted.count) if wanted.count else None,
        "replica files": facts.replica_files,
        "min-replicas-to-write": least if has_some and not wanted.count else None,
        "min-replicas-max-lag": int(lag) if lag and least not in (None, "0") else None,
    }


def _texts(settings: Mapping[Any, Any]) -> dict[str, str]:
    return {_text(name): _text(value) for name, value in settings.items()}


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _without_group(shards: Sequence[int], replies: Sequence[Any]) -> tuple[int, ...]:
    """The shards without our group; a missing stream is an error reply."""
    return tuple(
        shard
        for shard, groups in zip(shards, replies, strict=True)
        if isinstance(groups, Exception)
        or all(group["name"] != GROUP.encode() for group in groups)
    )


def _is_supported(version: tuple[str, str]) -> bool:
    major, minor = (int(part) for part in version[1].split(".")[:2])
    return (major, minor) >= _LEAST[version[0]]


def _shown_shards(shards: tuple[bytes | None, bytes]) -> str:
    stored, wanted = shards
    if stored == wanted:
        return described(wanted)
    found = "none yet" if stored is None else described(stored)
    return f"{found}, but {described(wanted)} wanted"


def _shown_groups(without: Sequence[int]) -> str:
    if not without:
        return "every shard has its group"
    return f"none on shard {', '.join(map(str, without))}"


def _shown_files(files: Mapping[str, tuple[str, str]]) -> str:
    each = (f"{name}: {only}, {fsync}" for name, (only, fsync) in files.items())
    return "; ".join(each) or "no replica"


def _are_synced(*fsync: str) -> Callable[[Mapping[str, tuple[str, str]]], bool]:
    return lambda files: all(
        only == "yes" and how in fsync for only, how in files.values()
    )


#: What a server does not say.
UNREADABLE: Final = "not readable"
_FULL: Final = "give it more, or see why workers do not keep up: `reftide status`"

_RULES: Final = Rules(
    "Redis",
    Rule("version", _is_supported, "use Redis 7.0 or Valkey 8, or later"),
    Rule("role", among("master"), "point REDIS_URL at the primary"),
    Rule("appendonly", among("yes"),
         "set appendonly yes: without it a restart loses the events in it"),
    Rule("appendfsync", among("always", "everysec", UNREADABLE),
         "set appendfsync always, or everysec"),
    Rule("appendfsync", among("always", "everysec"),
         "the server forbids CONFIG GET: look at its console for appendfsync everysec,"
         " or always", "warn"),
    Rule("appendfsync", among("always"),
         "a power cut loses up to two seconds of events, and so may a kill while the"
         " disk is busy; set appendfsync always where that is too much", "warn"),
    Rule("no-appendfsync-on-rewrite", among("no"),
         "set it to no: while the file is rewritten, nothing is synced", "warn"),
    Rule("last write", among("ok"),
         "free its disk: while it cannot write, it takes no events"),
    Rule("maxmemory-policy", among("noeviction"),
         "set maxmemory-policy noeviction: any other throws streams away"),
    Rule("maxmemory", bool,
         "set it below the machine's memory: edges then go over to their disks in time",
         "warn"),
    Rule("memory", _MEMORY_WRONG.__gt__, _FULL),
    Rule("memory", _MEMORY_WARN.__gt__, _FULL, "warn"),
    Rule("replicas", lambda found: found[0] >= found[1],
         "connect {0[1]} replicas, or lower REFTIDE_REPLICAS: until then edges keep events"
         " on their disks"),
    Rule("replicas", lambda found: found[0] > found[1],
         "connect one more: as soon as one is away, edges keep events on their disks",
         "warn"),
    Rule("replica files", _are_synced("always", UNREADABLE),
         "set appendonly yes and appendfsync always on each replica, or unset"
         " REFTIDE_REPLICAS_FSYNC: until then edges keep events on their disks"),
    Rule("replica files", _are_synced("always"),
         "a replica forbids CONFIG GET: look at its console for appendfsync always",
         "warn"),
    Rule("min-replicas-to-write", "0".__ne__,
         "set REFTIDE_REPLICAS=1, or at least min-replicas-to-write 1: a failover loses"
         " more than it must", "warn"),
    Rule("min-replicas-max-lag", _LAG_SECONDS.__contains__,
         "set it to 10 or less, and not to 0: for so many seconds a primary that lost its"
         " replicas takes events that a failover loses", "warn"),
    Rule("shards", lambda shards: shards[0] in (None, shards[1]),
         "set REFTIDE_SHARDS, and STREAMS_URL, everywhere to what Redis has: events of other"
         " shards would wait for ever"),
    Rule("shards", lambda shards: shards[0] is not None,
         "the first edge or worker to start writes it", "warn"),
    Rule("groups", not_,
         "start a worker: it makes them, and nothing is lost until then", "warn"),
    version=" ".join,
    maxmemory=lambda limit: size(limit) if limit else "none",
    memory="{} % used".format,
    replicas="{0[0]} connected, {0[1]} wanted".format,
    replica_files=_shown_files,
    min_replicas_max_lag="{} s".format,
    shards=_shown_shards,
    groups=_shown_groups,
)  # fmt: skip
