"""What to ask Redis about itself, and what its replies mean. Anyone may import this.

Pure: whoever has a connection sends the questions in one pipeline, and hands on the
replies, errors among them.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ingest.contracts.checkup import Check, Level, judged, size
from ingest.contracts.stream import GROUP, SHARDS_KEY, events_key

_LEAST_REDIS: Final = (7, 0)
_LEAST_VALKEY: Final = (8, 0)

#: From where on edges spare the stream, in per cent of Redis' memory, and where it ends.
_MEMORY_WARN: Final = 80
_MEMORY_WRONG: Final = 95

_SETTINGS: Final = (
    "appendonly", "appendfsync", "maxmemory", "maxmemory-policy",
    "no-appendfsync-on-rewrite", "min-replicas-to-write",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisFacts:
    """What Redis says of itself.

    `info` is its INFO, `settings` what CONFIG GET tells, None where it is forbidden;
    `clock` is in Unix seconds; `without_group` names the shards that have none, None
    where nobody asked.
    """

    info: Mapping[str, Any]
    settings: Mapping[str, str] | None
    clock: float
    shards_stored: int | None
    shards_wanted: int
    without_group: tuple[int, ...] | None = None


def redis_questions(shards: int = 0) -> list[tuple[str, ...]]:
    """The commands to send, in one pipeline; for the groups of so many shards."""
    return [
        ("INFO",),
        ("CONFIG GET", *_SETTINGS),
        ("TIME",),
        ("GET", SHARDS_KEY),
        *(("XINFO GROUPS", events_key(shard)) for shard in range(shards)),
    ]


def redis_facts(replies: Sequence[Any], shards_wanted: int) -> RedisFacts:
    """What the replies to those questions say, errors among them.

    Raises the first error that is not about a thing forbidden or missing.
    """
    info, settings, clock, stored, *groups = replies
    for reply in (info, clock, stored):
        if isinstance(reply, Exception):
            raise reply
    seconds, micros = clock
    is_told = not isinstance(settings, Exception)
    return RedisFacts(
        info=info,
        settings=_texts(settings) if is_told else None,
        clock=seconds + micros / 1e6,
        shards_stored=None if stored is None else int(stored),
        shards_wanted=shards_wanted,
        without_group=_without_group(groups) if groups else None,
    )


def check_redis(facts: RedisFacts) -> Iterator[Check]:
    """Everything about one Redis."""
    info = facts.info
    yield _redis_version(info)
    role = str(info.get("role", ""))
    yield judged(
        "Redis", "role", role, "point REDIS_URL at the primary", ok=role == "master"
    )
    settings = _settings(facts)
    yield from _persistence(info, settings)
    yield from _memory(info, settings)
    if settings.get("min-replicas-to-write") == "0" and info.get("connected_slaves"):
        advice = "set min-replicas-to-write 1, or a failover loses more than it must"
        yield Check("Redis", "min-replicas-to-write", "warn", "0", advice)
    yield _shards(facts)
    if facts.without_group is not None:
        yield _groups(facts.without_group)


def _texts(settings: Mapping[Any, Any]) -> dict[str, str]:
    return {_text(name): _text(value) for name, value in settings.items()}


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _without_group(replies: Sequence[Any]) -> tuple[int, ...]:
    """The shards without our group; a missing stream is an error reply."""
    return tuple(
        shard
        for shard, groups in enumerate(replies)
        if isinstance(groups, Exception)
        or all(group["name"] != GROUP.encode() for group in groups)
    )


def _settings(facts: RedisFacts) -> dict[str, str]:
    """What is set, as far as it is told: INFO has some of it, whatever is forbidden."""
    info = facts.info
    told = {
        "appendonly": "yes" if info.get("aof_enabled") else "no",
        "maxmemory": str(info.get("maxmemory", 0)),
        "maxmemory-policy": str(info.get("maxmemory_policy", "")),
    }
    return {**told, **(facts.settings or {})}


def _redis_version(info: Mapping[str, Any]) -> Check:
    # Valkey calls itself Redis 7.2.4 for old clients; its own version stands beside it.
    valkey = info.get("valkey_version")
    name, version = ("Valkey", valkey) if valkey else ("Redis", info["redis_version"])
    least = _LEAST_VALKEY if valkey else _LEAST_REDIS
    major, minor = (int(part) for part in str(version).split(".")[:2])
    return judged(
        "Redis",
        "version",
        f"{name} {version}",
        "use Redis 7.0 or Valkey 8, or later",
        ok=(major, minor) >= least,
    )


def _persistence(
    info: Mapping[str, Any], settings: Mapping[str, str]
) -> Iterator[Check]:
    persists = settings["appendonly"]
    yield judged(
        "Redis",
        "appendonly",
        persists,
        "set appendonly yes: without it a restart loses the events in it",
        ok=persists == "yes",
    )
    yield _appendfsync(settings.get("appendfsync"))
    if settings.get("no-appendfsync-on-rewrite") == "yes":
        advice = "set it to no: while the file is rewritten, nothing is synced"
        yield Check("Redis", "no-appendfsync-on-rewrite", "warn", "yes", advice)
    last = str(info.get("aof_last_write_status", "ok"))
    advice = "free its disk: while it cannot write, it takes no events"
    yield judged("Redis", "last write", last, advice, ok=last == "ok")


def _appendfsync(found: str | None) -> Check:
    if found is None:
        advice = (
            "the server forbids CONFIG GET: look at its console for appendfsync everysec,"
            " or always"
        )
        return Check("Redis", "appendfsync", "warn", "not readable", advice)
    if found == "everysec":
        advice = (
            "a power cut loses up to two seconds of events, and so may a kill while the"
            " disk is busy; set appendfsync always where that is too much"
        )
        return Check("Redis", "appendfsync", "warn", found, advice)
    advice = "set appendfsync always, or everysec"
    return judged("Redis", "appendfsync", found, advice, ok=found == "always")


def _memory(info: Mapping[str, Any], settings: Mapping[str, str]) -> Iterator[Check]:
    policy = settings["maxmemory-policy"]
    yield judged(
        "Redis",
        "maxmemory-policy",
        policy,
        "set maxmemory-policy noeviction: any other throws streams away",
        ok=policy == "noeviction",
    )
    limit = int(settings["maxmemory"])
    if not limit:
        advice = "set it below the machine's memory: edges then go over to their disks in time"
        yield Check("Redis", "maxmemory", "warn", "none", advice)
        return
    yield Check("Redis", "maxmemory", "ok", size(limit))
    used = 100 * int(info["used_memory"]) // limit
    level: Level = "wrong" if used >= _MEMORY_WRONG else "warn"
    advice = "give it more, or see why workers do not keep up: `reftide status`"
    is_fine = used < _MEMORY_WARN
    yield Check(
        "Redis",
        "memory",
        "ok" if is_fine else level,
        f"{used} % used",
        "" if is_fine else advice,
    )


def _shards(facts: RedisFacts) -> Check:
    stored, wanted = facts.shards_stored, facts.shards_wanted
    if stored is None:
        advice = "the first edge or worker to start writes it"
        return Check("Redis", "shards", "warn", f"none yet, {wanted} wanted", advice)
    return judged(
        "Redis",
        "shards",
        f"{stored}" if stored == wanted else f"{stored}, but {wanted} wanted",
        f"set REFTIDE_SHARDS={stored} everywhere: events of other shards would wait"
        " for ever",
        ok=stored == wanted,
    )


def _groups(without: Sequence[int]) -> Check:
    if not without:
        return Check("Redis", "groups", "ok", "every shard has its group")
    shards = ", ".join(map(str, without))
    advice = "start a worker: it makes them, and nothing is lost until then"
    return Check("Redis", "groups", "warn", f"none on shard {shards}", advice)
