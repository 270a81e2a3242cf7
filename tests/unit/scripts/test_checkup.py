from dataclasses import replace

import pytest

from scripts.checkup import RedisFacts, check_clocks, check_postgres, check_redis

GOOD_SETTINGS = {
    "appendonly": "yes",
    "appendfsync": "always",
    "maxmemory": "1000",
    "maxmemory-policy": "noeviction",
}
GOOD_REDIS = RedisFacts(
    server={"redis_version": "7.0.15"},
    settings=GOOD_SETTINGS,
    shards_stored=4,
    shards_wanted=4,
    without_group=(),
)
GOOD_POSTGRES = {
    "version": "15.4",
    "version_number": 150_004,
    "synchronous_commit": "on",
    "fsync": "on",
    "full_page_writes": "on",
    "has_events": True,
    "has_directory_changes": True,
    "is_standby": False,
    "missing_partitions": None,
}


def _redis(facts: RedisFacts) -> dict[str, str]:
    return {one.check: one.level for one in check_redis(facts) if one.level != "ok"}


def _postgres(**changed: object) -> dict[str, str]:
    checks = check_postgres({**GOOD_POSTGRES, **changed})
    return {one.check: one.level for one in checks if one.level != "ok"}


def test_servers_that_are_set_up_well_get_no_advice() -> None:
    checks = [*check_redis(GOOD_REDIS), *check_postgres(GOOD_POSTGRES)]

    assert {("ok", "")} == {(one.level, one.advice) for one in checks}


@pytest.mark.parametrize(
    ("name", "value", "level"),
    [
        ("appendonly", "no", "wrong"),
        ("appendfsync", "everysec", "warn"),
        ("appendfsync", "no", "wrong"),
        ("maxmemory", "0", "warn"),
        ("maxmemory-policy", "allkeys-lru", "wrong"),
    ],
)
def test_a_setting_that_can_lose_events_is_pointed_out(
    name: str, value: str, level: str
) -> None:
    facts = replace(GOOD_REDIS, settings={**GOOD_SETTINGS, name: value})

    assert {name: level} == _redis(facts)


def test_settings_that_a_server_does_not_tell_are_a_warning() -> None:
    assert {"settings": "warn"} == _redis(replace(GOOD_REDIS, settings=None))


@pytest.mark.parametrize(
    ("server", "level"),
    [
        ({"redis_version": "6.2.14"}, "wrong"),
        ({"redis_version": "8.0.1"}, "ok"),
        ({"redis_version": "7.2.4", "valkey_version": "7.2.5"}, "wrong"),
        ({"redis_version": "7.2.4", "valkey_version": "8.0.0"}, "ok"),
    ],
)
def test_versions_are_judged_by_the_servers_own_numbering(
    server: dict[str, str], level: str
) -> None:
    (version, *_) = check_redis(replace(GOOD_REDIS, server=server))

    assert ("version", level) == (version.check, version.level)


def test_disagreement_over_shards_is_wrong_and_an_empty_server_is_not() -> None:
    assert {"shards": "wrong"} == _redis(replace(GOOD_REDIS, shards_stored=8))
    assert {"shards": "warn"} == _redis(replace(GOOD_REDIS, shards_stored=None))
    assert {"groups": "warn"} == _redis(replace(GOOD_REDIS, without_group=(1, 2)))


@pytest.mark.parametrize(
    ("name", "value", "check"),
    [
        ("version_number", 140_010, "version"),
        ("synchronous_commit", "off", "synchronous_commit"),
        ("fsync", "off", "fsync"),
        ("full_page_writes", "off", "full_page_writes"),
        ("is_standby", True, "role"),
        ("has_events", False, "schema"),
        ("missing_partitions", ["events_202612"], "partitions"),
    ],
)
def test_a_database_that_can_lose_or_refuse_events_is_wrong(
    name: str, value: object, check: str
) -> None:
    assert {check: "wrong"} == _postgres(**{name: value})


def test_clocks_may_differ_by_a_second() -> None:
    assert "ok" == check_clocks({"here": 10.0, "Redis": 11.0}).level
    apart = check_clocks({"here": 10.0, "Redis": 11.5, "Postgres": 11.0})
    assert ("wrong", "1.50 s, here is behind") == (apart.level, apart.found)
