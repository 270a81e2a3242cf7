"""How little of Redis workers and commands need, the console as well: the file of users that operators get."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import orjson
import pytest
from redis import Redis
from redis.exceptions import ResponseError

from ingest.contracts.checkups.rights import WORKER
from tests.support.console.desk import opened
from tests.support.edge.showcase import SHOWN
from tests.support.servers.cli import Cli
from tests.support.servers.installation import Installation, an_installation
from tests.support.servers.valkey import Valkey, running_valkey

USERS = Path(__file__).parents[3] / "scripts" / "deploy" / "redis.acl"

#: Those that speak to Redis.
COMMANDS = (
    ("status",),
    ("verify",),
    ("doctor",),
    ("links", "add", "NEW", "--program", "1", "--url", "https://x.example"),
    ("limits", "set", "refport.key", "1200"),
    ("switches", "off", "dialect", "bio_re", "--reason", "a test"),
    ("quarantine", "redrive", "--reason", "unknown_link"),
    ("replay", "--from", "2020-01-01", "--to", "2100-01-01"),
    ("rewind", "--group", "warehouse", "--create", "--to", "2h"),
    ("archive", "status"),
    ("event", "user_123"),
    ("seed",),
    ("reconcile",),
    ("partitions", "detach", "--before", "2020-01"),
    ("erase", "user_123", "--unrecorded"),
)
#: Pages of the console that read Redis.
PAGES = ("traffic", "streams", "quarantine", "replays", "links", "operations")
#: Of connections, and of tests.
_NEITHER = {
    "acl", "auth", "client", "command", "config", "exec", "flushdb", "info", "multi", "ping", "script",
    "select", "subscribe", "watch", "bgrewriteaof",
}  # fmt: skip
#: Writes of the same kind as another that is tried.
_LIKE = {
    "evalsha": "eval", "hincrby": "set", "hset": "set", "hdel": "set", "incrby": "set", "mset": "set",
    "psetex": "set", "sadd": "srem", "sscan": "scan", "zadd": "zrem", "zincrby": "zrem", "zremrangebyscore": "zrem",
    "zcard": "zrange", "zrangebyscore": "zrange", "zrevrange": "zrange", "zscore": "zrange",
    "hmget": "hget", "getdel": "del", "unlink": "del", "type": "exists", "ttl": "exists",
    "xread": "xread", "srandmember": "smembers",
}  # fmt: skip


@pytest.fixture
def valkey() -> Iterator[Valkey]:
    with running_valkey(users=USERS.read_text("utf-8")) as server:
        yield server


@pytest.fixture
async def site(
    valkey: Valkey, database_url: str, tmp_path: Path
) -> AsyncIterator[Installation]:
    url = valkey.url.replace("unix://", "unix://worker:WORKER_PASSWORD@")
    archive = {"REFTIDE_ARCHIVE": str(tmp_path / "archive")}
    async with an_installation(url, database_url, tmp_path, **archive) as found:
        found.start_worker()
        yield found


async def test_workers_and_commands_do_with_the_rights_of_their_user(
    site: Installation, valkey: Valkey
) -> None:
    for shown in SHOWN:
        body = orjson.dumps(shown.body)
        await site.edges[0].request(shown.route.method, shown.url, data=body)
    await site.rests()

    cli = Cli(site.variables)
    for command in COMMANDS:
        done = await asyncio.to_thread(cli.run, *command)
        assert done.code in {0, 1}, (command, done.out, done.err)

    async with opened(cli, is_open=True) as console:
        assert {200} == {(await console.get(page)).status for page in PAGES}

    with Redis.from_url(valkey.url) as redis:
        assert [] == redis.acl_log()
        used = {name.split("_", 1)[1] for name in redis.info("commandstats")}
    tried = {command[0].lower() for command in WORKER}
    names = {name.split("|")[0] for name in used} - _NEITHER
    assert set() == {_LIKE.get(name, name) for name in names} - tried
    with Redis.from_url(site.variables["REDIS_URL"]) as workers:
        for stranger in (("FLUSHALL",), ("SET", "another:key", "1"), ("ACL", "LIST")):
            with pytest.raises(ResponseError, match="permission"):
                workers.execute_command(*stranger)


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ("-xtrim", "may not XTRIM {rt:?}:events MINID 0"),
        ("resetkeys ~rt:* ~{rt:*}:*", "may not SET arq:? ? PX 1, ZREM arq:? ?"),
    ],
)
async def test_doctor_says_which_rights_are_missing(
    site: Installation, valkey: Valkey, rule: str, said: str
) -> None:
    site.stop_workers()
    cli = Cli(site.variables)
    before = await asyncio.to_thread(cli.run, "doctor", "--json")
    with Redis.from_url(valkey.url) as redis:
        keys = {*redis.scan_iter("*[?]*")}
        redis.execute_command("ACL", "SETUSER", "worker", *rule.split())

    after = await asyncio.to_thread(cli.run, "doctor", "--json")

    [allowed], [refused] = (
        [
            each
            for each in done.document["checks"]
            if each["check"] == "rights" and each["server"] == "Redis"
        ]
        for done in (before, after)
    )
    assert ("ok", "all that are needed") == (allowed["level"], allowed["found"])
    assert ("wrong", said) == (refused["level"], refused["found"])
    assert "scripts/deploy/redis.acl" in refused["advice"]
    # What was tried left nothing behind.
    assert set() == keys
