"""`reftide doctor`."""

import orjson
import pytest

from ingest.contracts.stream import EDGES_KEY, edge_key
from tests.support.servers.cli import Cli
from tests.support.servers.valkey import running_valkey
from tests.support.workers.by_hand import Hands


def test_the_doctor_judges_both_servers(hands: Hands) -> None:
    result = hands.cli.run("doctor", "--json")

    levels = {one["check"]: one["level"] for one in result.document["checks"]}
    assert {"version", "appendonly", "shards", "groups", "fsync", "schema"} <= set(
        levels
    )
    assert ("ok", "ok", "ok") == (levels["schema"], levels["groups"], levels["shards"])
    assert result.document["ok"] == (result.code == 0)
    assert "fsync" in hands.cli.run("doctor").out


def test_a_clock_that_is_off_is_wrong(hands: Hands) -> None:
    result = hands.cli.run("doctor", "--json")  # the test's clock stands still

    (clocks,) = (one for one in result.document["checks"] if one["check"] == "skew")
    assert ("wrong", 1) == (clocks["level"], result.code)
    assert "NTP" in clocks["advice"]


def test_missing_groups_are_a_warning_that_only_strict_minds(shop: Cli) -> None:
    checks = shop.run("doctor", "--strict", "--json").document["checks"]

    (groups,) = (one for one in checks if one["check"] == "groups")
    assert "warn" == groups["level"]
    assert "start a worker" in groups["advice"]


def test_its_table_and_its_advice_fit_100_columns_of_a_pipe(shop: Cli) -> None:
    done = shop.run("doctor")
    checks = shop.run("doctor", "--json").document["checks"]

    assert max(map(len, done.out.splitlines())) <= 100
    said = " ".join(done.out.split())
    assert all(" ".join(one["advice"].split()) in said for one in checks)


@pytest.mark.parametrize(
    ("file", "level"), [("yes", "ok"), ("no", "wrong"), (None, "wrong")]
)
def test_replicas_that_cannot_confirm_from_their_disks_are_found(
    shop: Cli, file: str | None, level: str
) -> None:
    with running_valkey(port=True) as primary, running_valkey(port=True) as replica:
        replica.configure("appendonly", file or "yes")
        replica.follow(primary)
        if file is None:
            replica.configure("requirepass", "another")
        wanted = {"REFTIDE_REPLICAS": "1", "REFTIDE_REPLICAS_FSYNC": "1"}
        cli = Cli({**shop.variables, "REDIS_URL": primary.url, **wanted})
        checks = cli.run("doctor", "--json").document["checks"]

    (found,) = (one for one in checks if one["check"] == "replica files")
    assert level == found["level"], found
    (count,) = (one for one in checks if one["check"] == "replicas")
    assert "1 connected, 1 wanted" == count["found"]


def test_a_proxy_that_is_not_trusted_is_named_with_its_setting(hands: Hands) -> None:
    stands = {"level": "stream", "why": "", "spool_bytes": 0}
    proxy = {"address": "10.0.0.5", "requests": 90, "of": 99}
    edges = {"one": {"forwarder": proxy}, "other": {"forwarder": None}, "former": {}}
    for name, told in edges.items():
        hands.redis.zadd(EDGES_KEY, {name: 1})
        hands.redis.set(edge_key(name), orjson.dumps({**stands, **told}))

    checks = hands.cli.run("doctor", "--json").document["checks"]
    (found,) = (one for one in checks if one["check"] == "proxies")

    assert "warn" == found["level"]
    assert "10.0.0.5" in found["found"]
    assert "REFTIDE_TRUSTED_PROXIES=10.0.0.5" in found["advice"]
    said = " ".join(hands.cli.run("status", "--window", "0").out.split())
    assert found["found"] in said
    # Sentences begin with a capital there.
    assert found["advice"][1:] in said


def test_without_such_a_proxy_nothing_is_said_of_it(hands: Hands) -> None:
    checks = hands.cli.run("doctor", "--json").document["checks"]

    (found,) = (one for one in checks if one["check"] == "proxies")
    assert "ok" == found["level"]
    assert "TRUSTED" not in hands.cli.run("status", "--window", "0").out


@pytest.mark.parametrize(
    ("variable", "url", "away", "there"),
    [
        ("DATABASE_URL", "postgresql://reftide@127.0.0.1:1/r", "Postgres", "Redis"),
        ("REDIS_URL", "redis://127.0.0.1:1/0", "Redis", "Postgres"),
    ],
)
def test_a_server_is_checked_while_the_other_is_away(
    hands: Hands, variable: str, url: str, away: str, there: str
) -> None:
    result = Cli({**hands.cli.variables, variable: url}).run("doctor", "--json")

    checks = result.document["checks"]
    assert 3 == result.code
    (reach,) = (one for one in checks if one["server"] == away)
    assert ("wrong", "cannot be reached") == (reach["level"], reach["found"])
    assert variable in reach["advice"]
    assert {"version"} < {one["check"] for one in checks if one["server"] == there}
