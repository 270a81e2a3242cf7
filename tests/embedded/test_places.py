"""Any path, any home, any user."""

import os
import stat
from pathlib import Path

import pytest

from scripts.embedded.instance import Instance
from tests.support.servers.embedded import running


async def both_answer(connection, redis):
    return await connection.fetchval("SELECT 1"), await redis.ping()


@pytest.mark.parametrize(
    "name",
    [
        "/".join(["long" * 12] * 4),
        "/".join(["longer" * 40] * 6),
        "odd name, 100%25 +'é\"#?",
    ],
    ids=["long", "longer than PostgreSQL takes", "odd"],
)
def test_any_path_will_do(tmp_path, ask, name):
    data = tmp_path / name
    for _ in range(2):
        with running(data, durable=False) as embedded:
            assert (1, True) == ask(embedded, both_answer)
            assert embedded.redis_url == Instance.require(data).redis_url


def test_a_closed_home_stays_closed(tmp_path, ask):
    """As root the servers run as somebody else, who could not enter it by himself."""
    home = tmp_path / "home"
    home.mkdir(mode=0o700)

    with running(home / "data", durable=False) as embedded:
        assert (1, True) == ask(embedded, both_answer)
        users = {Path(f"/proc/{one.pid}").stat().st_uid for one in embedded.servers}

    assert 0 not in users
    assert (os.geteuid() == 0) == (os.geteuid() not in users)
    assert 0o700 == stat.S_IMODE(home.stat().st_mode)
    assert os.geteuid() == home.stat().st_uid


def test_an_ordinary_user_may_run_them(ordinary_user, own, gone, ask):
    owner = own(ordinary_user.home / "data", ordinary_user)

    assert owner.pids, owner.output
    assert (1, True) == ask(owner, both_answer)
    owner.process.kill()
    assert gone(owner.pids, 5)


def test_data_of_an_ordinary_user_stays_his_when_root_runs_it(
    ordinary_user, own, gone, ask
):
    """Run by anybody else than root, this is a restart by the same user."""
    data = ordinary_user.home / "data"
    with running(data, durable=False) as embedded:
        assert (1, True) == ask(embedded, both_answer)
    if os.geteuid() == 0:
        assert 0 == data.stat().st_uid
        uid, gid = ordinary_user.who["user"], ordinary_user.who["group"]
        for folder, folders, files in os.walk(data):
            for path in (folder, *folders, *files):
                os.chown(Path(folder, path), uid, gid)
        with running(data, durable=False) as embedded:
            assert (1, True) == ask(embedded, both_answer)

    owner = own(data, ordinary_user)

    assert owner.pids, owner.output
    owner.process.terminate()
    assert gone(owner.pids, 5)
