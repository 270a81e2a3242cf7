"""What other users and programs of the machine can do with the servers: nothing."""

import asyncio
import os
import pwd
import re
import stat
import subprocess
from contextlib import suppress
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import asyncpg
import pytest
import redis

from tests.support.servers.embedded import running

PASSWORDS = ("valkey.password", "postgres.password")


def users(embedded):
    return {Path(f"/proc/{one.pid}").stat().st_uid for one in embedded.servers}


def without_password(embedded):
    """What Valkey and PostgreSQL say to a client that has reached their sockets."""
    client = redis.Redis(unix_socket_path=urlsplit(embedded.redis_url).path)
    with client, pytest.raises(redis.AuthenticationError) as said:
        client.ping()
    (sockets,) = parse_qs(urlsplit(embedded.database_url).query)["host"]

    async def connect(database):
        await asyncpg.connect(
            host=sockets, user="reftide", password="", database=database
        )

    for database in ("reftide", "postgres"):
        with pytest.raises(asyncpg.InvalidPasswordError):
            asyncio.run(connect(database))
    return str(said.value)


def processes(uid):
    """The processes of a user, each with its parent."""
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended
            if process.stat().st_uid == uid:
                text = (process / "stat").read_text("utf-8", "replace")
                yield int(process.name), int(text.rpartition(")")[2].split()[1])


async def keep(connection, client):
    await connection.execute("create table kept as select 1 as n")
    await client.set("kept", "1")


async def kept(connection, client):
    return await connection.fetchval("select n from kept"), await client.get("kept")


def test_nobody_else_has_the_user_id_of_the_servers(tmp_path):
    """An ordinary user runs them as itself, so it alone has it."""
    with running(tmp_path / "data", durable=False) as embedded:
        (uid,) = users(embedded)

        if os.geteuid() != 0:
            assert os.geteuid() == uid
            return
        with pytest.raises(KeyError):
            pwd.getpwuid(uid)
        ours = {one.pid for one in embedded.servers}
        for pid, parent in processes(uid):
            assert {pid, parent} & ours
    for folder in (embedded.data / "valkey", embedded.data / "postgres"):
        for at, folders, files in os.walk(folder):
            owners = {Path(at, one).lstat().st_uid for one in (*folders, *files)}
            assert owners <= {uid}


def test_a_user_id_that_another_process_has_by_now_is_left_to_it(tmp_path, ask):
    with running(tmp_path / "data", durable=False) as embedded:
        ask(embedded, keep)
        (before,) = users(embedded)

    with subprocess.Popen(["/bin/sleep", "60"], user=before) as other:
        with running(tmp_path / "data", durable=False) as embedded:
            assert (1, b"1") == ask(embedded, kept)
            (after,) = users(embedded)
        other.kill()

    assert (os.geteuid() == 0) == (before != after)
    with running(tmp_path / "data", durable=False) as embedded:
        assert {after} == users(embedded)


def test_both_servers_want_their_password(tmp_path):
    with running(tmp_path / "data", durable=False) as embedded:
        assert "Authentication required." == without_password(embedded)


def test_passwords_are_in_private_files_and_nowhere_that_others_look(tmp_path):
    passwords = set()
    for _ in range(2):
        with running(tmp_path / "data", durable=False) as embedded:
            data = embedded.data
            texts = {(data / name).read_text("ascii").strip() for name in PASSWORDS}
            passwords |= texts
            shown = [
                Path(f"/proc/{one.pid}/{what}").read_text("utf-8", "replace")
                for one in embedded.servers
                for what in ("cmdline", "environ")
            ]
            shown += [log.read_text("utf-8") for log in (data / "log").iterdir()]
            assert not [one for one in texts for text in shown if one in text]
            for name in (*PASSWORDS, "instance.json"):
                assert 0o600 == stat.S_IMODE((data / name).stat().st_mode)

    assert len(PASSWORDS) == len(passwords), "they were made anew"


def test_sockets_are_for_their_owner_only(tmp_path):
    with running(tmp_path / "data", durable=False) as embedded:
        (sockets,) = parse_qs(urlsplit(embedded.database_url).query)["host"]
        socket = Path(urlsplit(embedded.redis_url).path)

        for folder in (Path(sockets), socket.parent):
            assert 0o700 == stat.S_IMODE(folder.stat().st_mode)
        for one in (Path(sockets, ".s.PGSQL.5432"), socket):
            assert 0o700 == stat.S_IMODE(one.stat().st_mode)


def test_data_of_0_1_0_gets_passwords_and_an_owner_of_its_own(tmp_path, ask):
    """0.1.0 had no passwords, and root ran its servers as `nobody`."""
    data = tmp_path / "data"
    with running(data, durable=False) as embedded:
        ask(embedded, keep)
        ask(embedded, lambda sql, _: sql.execute("alter role reftide password null"))
    rules = data / "postgres" / "pg_hba.conf"
    former = re.sub(
        "scram-sha-256$", "trust", rules.read_text("utf-8"), flags=re.MULTILINE
    )
    rules.write_text(former)
    for name in PASSWORDS:
        (data / name).unlink()
    if os.geteuid() == 0:
        (data / "account").unlink()
        nobody = pwd.getpwnam("nobody")
        os.chown(data, 0, nobody.pw_gid)
        for folder in ("valkey", "postgres"):
            for at, folders, files in os.walk(data / folder):
                for name in (".", *folders, *files):
                    os.chown(Path(at, name), nobody.pw_uid, nobody.pw_gid)

    with running(data, durable=False) as embedded:
        assert (1, b"1") == ask(embedded, kept)
        without_password(embedded)
        (uid,) = users(embedded)
        if os.geteuid() == 0:
            assert uid not in {0, nobody.pw_uid}
            assert uid == data.stat().st_gid
    assert " trust" not in re.sub("#.*", "", rules.read_text("utf-8"))
    assert {uid} == {path.lstat().st_uid for path in (data / "postgres").rglob("*")}


@pytest.mark.parametrize("name", PASSWORDS)
def test_a_password_that_is_lost_is_replaced(tmp_path, ask, name):
    with running(tmp_path / "data", durable=False) as embedded:
        ask(embedded, keep)
        former = (embedded.data / name).read_text("ascii")
        (embedded.data / name).unlink()

    with running(tmp_path / "data", durable=False) as embedded:
        assert (1, b"1") == ask(embedded, kept)
        without_password(embedded)
        assert former != (embedded.data / name).read_text("ascii")
