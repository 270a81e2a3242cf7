from collections.abc import Iterable, Mapping
from dataclasses import replace

import pytest

from ingest.contracts.checkups.checkup import CLOCKS, DISK, EDGE, Check, Rules
from ingest.contracts.checkups.redis_checkup import (
    UNREADABLE,
    RedisFacts,
    check_redis,
    redis_facts,
)
from ingest.contracts.variables import Replicas
from scripts.services.maintain.schema import schema_text
from workers.postgres.checkup import WORKER, Sharing, check_postgres
from workers.postgres.database import SERVER_SETTINGS
from workers.postgres.schema import check_schema, things_of

GOOD_INFO = {
    "redis_version": "7.0.15",
    "role": "master",
    "aof_enabled": 1,
    "aof_last_write_status": "ok",
    "maxmemory": 1000,
    "maxmemory_policy": "noeviction",
    "used_memory": 100,
    "connected_slaves": 0,
}
GOOD_REDIS = RedisFacts(
    info=GOOD_INFO,
    settings={
        "appendonly": "yes",
        "appendfsync": "always",
        "maxmemory": "1000",
        "maxmemory-policy": "noeviction",
        "min-replicas-to-write": "0",
    },
    clock=0.0,
    shards_stored=b"4",
    shards_wanted=b"4",
    without_group=(),
)
GOOD_POSTGRES = {
    "version": "15.4",
    "version_number": 150_004,
    "synchronous_commit": "on",
    "fsync": "on",
    "full_page_writes": "on",
    "read_only": "off",
    "has_events": True,
    "has_directory_changes": True,
    "is_standby": False,
    "missing_partitions": None,
    "role_name": "reftide",
    "tables_of_others": [],
    "may_create": True,
    "connections": 97,
    "taken": 7,
}
SCHEMA = """
create table if not exists links (
    id uuid primary key
);
alter table links add column if not exists note text,
    add column if not exists colour text;
create unique index if not exists links_note on links (note);
create or replace function floor_of(moment timestamptz) returns uuid
    language sql immutable
    as $$ select 1 $$;
"""
CATALOG = [
    {"kind": "table", "name": "links", "body": None},
    {"kind": "index", "name": "links_note", "body": None},
    {"kind": "column", "name": "links.note", "body": None},
    {"kind": "column", "name": "links.colour", "body": None},
    {"kind": "function", "name": "floor_of", "body": " select 1 "},
]


def _levels(checks: Iterable[Check]) -> dict[str, str]:
    return {one.check: one.level for one in checks if one.level != "ok"}


def _redis(facts: RedisFacts) -> dict[str, str]:
    return _levels(check_redis(facts))


def _of_postgres(
    workers: int = 1,
    session: Mapping[str, str] = SERVER_SETTINGS,
    sharing: Sharing = Sharing(is_shared=False, is_pooled=False),  # noqa: B008 -- a value
    **changed: object,
) -> list[Check]:
    facts = {**GOOD_POSTGRES, **changed}
    return [*check_postgres(facts, workers, 9, session, sharing)]


def _only(rules: Rules, **facts: object) -> Check:
    (found,) = rules.judge(facts)
    return found


def test_servers_that_are_set_up_well_get_no_advice() -> None:
    checks = [*check_redis(GOOD_REDIS), *_of_postgres()]

    assert {("ok", "")} == {(one.level, one.advice) for one in checks}


@pytest.mark.parametrize(
    ("info", "level"),
    [
        ({"redis_version": "6.2.14"}, "wrong"),
        ({"redis_version": "8.0.1"}, "ok"),
        ({"redis_version": "7.2.4", "valkey_version": "7.2.5"}, "wrong"),
        ({"redis_version": "7.2.4", "valkey_version": "8.0.0"}, "ok"),
    ],
)
def test_versions_are_judged_by_the_servers_own_numbering(
    info: dict[str, str], level: str
) -> None:
    (version, *_) = check_redis(replace(GOOD_REDIS, info={**GOOD_INFO, **info}))

    assert ("version", level) == (version.check, version.level)


def test_a_disk_that_redis_cannot_write_to_is_wrong() -> None:
    info = {**GOOD_INFO, "aof_last_write_status": "err"}

    assert {"last write": "wrong"} == _redis(replace(GOOD_REDIS, info=info))


def test_replicas_that_need_not_have_what_was_written_are_a_warning() -> None:
    info = {**GOOD_INFO, "connected_slaves": 1}

    levels = _redis(replace(GOOD_REDIS, info=info))

    assert {"min-replicas-to-write": "warn"} == levels


def _online(count: int) -> dict[str, object]:
    slave = {"ip": "10.0.0.5", "port": 6379, "state": "online"}
    lagging = {f"slave{count}": {**slave, "state": "wait_bgsave"}}
    online = {f"slave{number}": slave for number in range(count)}
    return {**GOOD_INFO, "connected_slaves": count + 1, **online, **lagging}


@pytest.mark.parametrize(("count", "level"), [(0, "wrong"), (1, "warn"), (2, "ok")])
def test_there_are_more_replicas_than_have_to_confirm(count: int, level: str) -> None:
    facts = replace(GOOD_REDIS, info=_online(count), replicas=Replicas(1))

    assert level == _redis(facts).get("replicas", "ok")
    assert "min-replicas-to-write" not in _redis(facts)


@pytest.mark.parametrize(
    ("file", "level"),
    [
        (("yes", "always"), "ok"),
        (("yes", UNREADABLE), "warn"),
        (("yes", "everysec"), "wrong"),
        (("no", "always"), "wrong"),
        (("TimeoutError: ", UNREADABLE), "wrong"),
    ],
)
def test_replicas_that_confirm_from_their_disks_write_at_once(
    file: tuple[str, str], level: str
) -> None:
    files = {"10.0.0.5:6379": ("yes", "always"), "10.0.0.6:6379": file}
    facts = replace(
        GOOD_REDIS,
        info=_online(2),
        replicas=Replicas(1, is_synced=True),
        replica_files=files,
    )

    assert level == _redis(facts).get("replica files", "ok")


@pytest.mark.parametrize(
    ("least", "lag", "level"),
    [("0", "0", "ok"), ("1", "10", "ok"), ("1", "11", "warn"), ("1", "0", "warn")],
)
def test_a_primary_without_replicas_soon_takes_no_events(
    least: str, lag: str, level: str
) -> None:
    settings = {"min-replicas-to-write": least, "min-replicas-max-lag": lag}
    facts = replace(GOOD_REDIS, settings={**(GOOD_REDIS.settings or {}), **settings})

    assert level == _redis(facts).get("min-replicas-max-lag", "ok")


def test_an_error_of_the_server_is_no_finding() -> None:
    replies = [ConnectionError("gone"), {}, (0, 0), None]

    with pytest.raises(ConnectionError, match="gone"):
        redis_facts(replies, shards_wanted=b"4")


@pytest.mark.parametrize(
    ("name", "value", "check"),
    [
        ("version_number", 140_010, "version"),
        ("synchronous_commit", "off", "synchronous_commit"),
        ("fsync", "off", "fsync"),
        ("full_page_writes", "off", "full_page_writes"),
        ("read_only", "on", "default_transaction_read_only"),
        ("is_standby", True, "role"),
        ("has_events", False, "schema"),
        ("missing_partitions", ["events_202612"], "partitions"),
        ("tables_of_others", ["events"], "rights"),
        ("may_create", False, "rights"),
    ],
)
def test_a_database_that_can_lose_or_refuse_events_is_wrong(
    name: str, value: object, check: str
) -> None:
    assert {check: "wrong"} == _levels(_of_postgres(**{name: value}))


def test_workers_must_get_all_their_connections() -> None:
    assert {} == _levels(_of_postgres(workers=10))
    (too_many,) = (one for one in _of_postgres(workers=11) if one.level != "ok")
    assert ("max_connections", "warn", "raise it by 9, or run fewer workers") == (
        too_many.check,
        too_many.level,
        too_many.advice,
    )


@pytest.mark.parametrize(
    ("name", "level"),
    [("statement_timeout", "warn"), ("synchronous_commit", "wrong")],
)
def test_what_a_pooler_drops_is_found(name: str, level: str) -> None:
    checks = _of_postgres(session={**SERVER_SETTINGS, name: "0"})

    (found,) = (one for one in checks if one.check == "session")
    assert (level, f"{name} = 0") == (found.level, found.found)


@pytest.mark.parametrize(
    ("is_shared", "is_pooled", "level"),
    [
        (False, False, "ok"), (False, True, "ok"), (True, True, "ok"), (True, False, "wrong"),
    ],
)  # fmt: skip
def test_a_pooler_that_shares_sessions_needs_its_setting(
    *, is_shared: bool, is_pooled: bool, level: str
) -> None:
    checks = _of_postgres(100, sharing=Sharing(is_shared, is_pooled))

    (found,) = (one for one in checks if one.check == "pooler")
    assert level == found.level
    assert ("REFTIDE_POOLER=transaction" in found.advice) == (level == "wrong")
    # How many connections there are, the pooler says.
    assert is_pooled == ("max_connections" not in {one.check for one in checks})


def test_clocks_may_differ_by_a_second() -> None:
    assert "ok" == _only(CLOCKS, skew={"here": 10.0, "Redis": 11.0}).level
    apart = _only(CLOCKS, skew={"here": 10.0, "Redis": 11.5, "Postgres": 11.0})
    assert ("wrong", "1.50 s, here is behind") == (apart.level, apart.found)


@pytest.mark.parametrize(
    ("free", "spool", "level"),
    [
        (5 << 30, 4 << 30, "ok"),
        (5 << 30, 6 << 30, "warn"),
        ((1 << 30) - 1, 0, "warn"),
        (1 << 20, 0, "wrong"),
    ],
)
def test_a_disk_is_judged_by_what_the_spool_may_take(
    free: int, spool: int, level: str
) -> None:
    assert level == _only(DISK, space=(free, spool)).level


@pytest.mark.parametrize(("length", "level"), [(0, "warn"), (31, "warn"), (32, "ok")])
def test_a_secret_has_32_characters(length: int, level: str) -> None:
    assert level == _only(EDGE, secret=length).level


def test_no_geo_file_is_fine() -> None:
    (found,) = WORKER.judge({"geo file": (None, None)})

    assert ("ok", "none: countries only") == (found.level, found.found)


def test_a_schema_is_known_by_what_it_makes() -> None:
    assert "ok" == check_schema(SCHEMA, CATALOG).level
    assert len(CATALOG) == len(things_of(SCHEMA))


@pytest.mark.parametrize("place", range(len(CATALOG)))
def test_whatever_a_database_lacks_is_named(place: int) -> None:
    rest = [thing for at, thing in enumerate(CATALOG) if at != place]

    found = check_schema(SCHEMA, rest)

    assert "wrong" == found.level
    assert CATALOG[place]["name"] in found.found


def test_an_older_text_of_a_function_is_found() -> None:
    older = {**CATALOG[-1], "body": " select 0 "}

    assert "wrong" == check_schema(SCHEMA, [*CATALOG[:-1], older]).level


def test_our_own_schema_is_read() -> None:
    kinds = {thing.kind for thing in things_of(schema_text())}

    assert {"table", "index", "column", "function"} == kinds


def test_what_is_missing_is_named_up_to_a_point() -> None:
    assert "lacks" in check_schema(schema_text(), []).found
    assert "more" in check_schema(schema_text(), []).found
