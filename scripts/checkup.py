"""What `reftide doctor` makes of what it found: pure functions from facts to advice."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

from scripts.output import size

Level = Literal["ok", "warn", "wrong"]

_LEAST_REDIS: Final = (7, 0)
_LEAST_VALKEY: Final = (8, 0)
_LEAST_POSTGRES: Final = 150_000
_SKEW_SECONDS: Final = 1.0

#: The check of a server that does not answer; there is no other of it then.
REACH: Final = "reach"


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the report. There is advice unless all is well."""

    server: str
    check: str
    level: Level
    found: str
    advice: str = ""

    def row(self) -> dict[str, str]:
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisFacts:
    """What Redis says of itself; `settings` is None where it does not tell."""

    server: Mapping[str, Any]
    settings: Mapping[str, str] | None
    shards_stored: int | None
    shards_wanted: int
    without_group: tuple[int, ...]


def check_redis(facts: RedisFacts) -> Iterator[Check]:
    yield _redis_version(facts.server)
    if facts.settings is None:
        yield Check(
            "Redis",
            "settings",
            "warn",
            "not readable",
            "the server forbids CONFIG GET: look at its console for appendonly yes,"
            " maxmemory-policy noeviction and a maxmemory",
        )
    else:
        yield from _redis_settings(facts.settings)
    yield _shards(facts)
    yield _groups(facts)


def check_postgres(facts: Mapping[str, Any]) -> Iterator[Check]:
    found = facts["version"]
    is_recent = facts["version_number"] >= _LEAST_POSTGRES
    yield _judge(
        "Postgres", "version", found, "use PostgreSQL 15 or later", ok=is_recent
    )
    is_sync = facts["synchronous_commit"] != "off"
    yield _judge(
        "Postgres",
        "synchronous_commit",
        facts["synchronous_commit"],
        "set synchronous_commit = on: an event is acknowledged after its commit, so a"
        " commit that a crash can undo loses it",
        ok=is_sync,
    )
    for name in ("fsync", "full_page_writes"):
        advice = f"set {name} = on: without it a power cut can destroy the database"
        yield _judge("Postgres", name, facts[name], advice, ok=facts[name] == "on")
    role = "standby" if facts["is_standby"] else "primary"
    advice = "point DATABASE_URL at the primary"
    yield _judge("Postgres", "role", role, advice, ok=role == "primary")
    yield from _tables(facts)


def out_of_reach(server: str, what: str, remedy: str) -> Check:
    return Check(server, REACH, "wrong", "cannot be reached", f"{what} {remedy}")


def check_clocks(clocks: Mapping[str, float]) -> Check:
    """Judge clocks that were read at one moment, or how far each is ahead of one."""
    skew = max(clocks.values()) - min(clocks.values())
    first = min(clocks, key=lambda name: clocks[name])
    is_small = skew <= _SKEW_SECONDS
    return Check(
        "clocks",
        "skew",
        "ok" if is_small else "wrong",
        f"{skew:.2f} s" + ("" if is_small else f", {first} is behind"),
        "" if is_small else "run NTP on every machine: ids and windows go by clocks",
    )


def _tables(facts: Mapping[str, Any]) -> Iterator[Check]:
    has_schema = facts["has_events"] and facts["has_directory_changes"]
    found = "present" if has_schema else "missing"
    yield _judge("Postgres", "schema", found, "run `reftide schema`", ok=has_schema)
    missing = facts["missing_partitions"] or []
    yield _judge(
        "Postgres",
        "partitions",
        "this month and the next" if not missing else f"no {', '.join(missing)}",
        "run `reftide schema`, and a worker, which makes them ahead of time",
        ok=not missing,
    )


def _redis_version(server: Mapping[str, Any]) -> Check:
    # Valkey calls itself Redis 7.2.4 for old clients; its own version stands beside it.
    valkey = server.get("valkey_version")
    name, version = ("Valkey", valkey) if valkey else ("Redis", server["redis_version"])
    least = _LEAST_VALKEY if valkey else _LEAST_REDIS
    major, minor = (int(part) for part in str(version).split(".")[:2])
    return _judge(
        "Redis",
        "version",
        f"{name} {version}",
        "use Redis 7.0 or Valkey 8, or later",
        ok=(major, minor) >= least,
    )


def _redis_settings(settings: Mapping[str, str]) -> Iterator[Check]:
    persists = settings.get("appendonly", "")
    yield _judge(
        "Redis",
        "appendonly",
        persists,
        "set appendonly yes: without it a restart loses the events in it",
        ok=persists == "yes",
    )
    yield _appendfsync(settings.get("appendfsync", ""))
    policy = settings.get("maxmemory-policy", "")
    yield _judge(
        "Redis",
        "maxmemory-policy",
        policy,
        "set maxmemory-policy noeviction: any other throws streams away",
        ok=policy == "noeviction",
    )
    limit = int(settings.get("maxmemory", "0"))
    yield Check(
        "Redis",
        "maxmemory",
        "ok" if limit else "warn",
        size(limit) if limit else "none",
        "" if limit else "set it below the machine's memory: edges then refuse in time",
    )


def _appendfsync(found: str) -> Check:
    if found == "everysec":
        advice = (
            "a power cut loses up to two seconds of events; set appendfsync always"
            " where that is too much"
        )
        return Check("Redis", "appendfsync", "warn", found, advice)
    advice = "set appendfsync always, or everysec"
    return _judge("Redis", "appendfsync", found, advice, ok=found == "always")


def _shards(facts: RedisFacts) -> Check:
    stored, wanted = facts.shards_stored, facts.shards_wanted
    if stored is None:
        advice = "the first edge or worker to start writes it"
        return Check("Redis", "shards", "warn", f"none yet, {wanted} wanted", advice)
    return _judge(
        "Redis",
        "shards",
        f"{stored}" if stored == wanted else f"{stored}, but {wanted} wanted",
        f"set REFTIDE_SHARDS={stored} everywhere: events of other shards would wait"
        " for ever",
        ok=stored == wanted,
    )


def _groups(facts: RedisFacts) -> Check:
    if not facts.without_group:
        return Check("Redis", "groups", "ok", "every shard has its group")
    shards = ", ".join(map(str, facts.without_group))
    advice = "start a worker: it makes them, and nothing is lost until then"
    return Check("Redis", "groups", "warn", f"none on shard {shards}", advice)


def _judge(server: str, check: str, found: str, advice: str, *, ok: bool) -> Check:
    return Check(server, check, "ok" if ok else "wrong", found, "" if ok else advice)
