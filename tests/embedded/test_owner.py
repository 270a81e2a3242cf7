"""Who owns a data directory, and what happens to servers whose owner ends."""

import asyncio
import os
import signal
import time

import pytest

from scripts.embedded.errors import EmbeddedError
from scripts.embedded.instance import Embedded, Instance
from scripts.embedded.server import Options
from tests.support.servers.embedded import running


async def write(connection, redis):
    await connection.execute("CREATE TABLE kept AS SELECT 1 AS n")
    await redis.set("kept", "1")


async def read(connection, redis):
    return await connection.fetchval("SELECT n FROM kept"), await redis.get("kept")


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGKILL, -9), (signal.SIGTERM, 0)]
)
def test_servers_end_with_their_owner_and_data_is_intact(
    tmp_path, own, gone, ask, number, code
):
    owner = own(tmp_path / "data", None)
    ask(owner, write)

    owner.process.send_signal(number)

    assert code == owner.process.wait(10)
    assert gone(owner.pids, 5)
    with running(tmp_path / "data", durable=False) as embedded:
        assert (1, b"1") == ask(embedded, read)


def test_a_start_right_after_a_kill_waits_for_the_old_servers(tmp_path, own, gone):
    owner = own(tmp_path / "data", None)
    owner.process.kill()
    owner.process.wait()

    with running(tmp_path / "data", durable=False):
        assert gone(owner.pids, 0)


def test_a_second_owner_is_refused_and_told_by_whom(tmp_path, own):
    with running(tmp_path / "data", durable=False):
        second = own(tmp_path / "data", None)

        assert f"in use by process {os.getpid()}." in second.output
        assert 1 == second.process.wait(5)
        assert Instance.load(tmp_path / "data") is not None


def test_a_command_without_a_running_instance_is_told_what_to_do(tmp_path):
    with pytest.raises(EmbeddedError, match="start it with `reftide up`"):
        Instance.require(tmp_path)


@pytest.mark.parametrize(("index", "name"), [(0, "Valkey"), (1, "PostgreSQL")])
async def test_a_killed_server_is_noticed_and_started_again(tmp_path, ask, index, name):
    async with Embedded(tmp_path / "data", Options(durable=False)) as embedded:
        await asyncio.to_thread(ask, embedded, write)
        server = embedded.servers[index]
        os.kill(server.pid, signal.SIGKILL)

        async with asyncio.timeout(20):
            code = await asyncio.wrap_future(server.exited)

        assert (name, -signal.SIGKILL) == (server.name, code)
        assert not server.alive()
        await embedded.restart(server)
        assert (1, b"1") == await asyncio.to_thread(ask, embedded, read)


async def test_a_start_does_not_hold_up_the_event_loop(tmp_path):
    longest, began, done = 0.0, time.monotonic(), asyncio.Event()
    last = began

    async def tick():
        nonlocal longest, last
        while not done.is_set():
            await asyncio.sleep(0.005)
            now = time.monotonic()
            longest, last = max(longest, now - last), now

    async with asyncio.TaskGroup() as group:
        group.create_task(tick())
        async with Embedded(tmp_path / "data", Options(durable=False)):
            done.set()

    # One that did would take all of the time, however long that is.
    assert longest < (last - began) / 2


async def test_a_cancelled_start_leaves_nothing_behind(tmp_path, gone):
    embedded = Embedded(tmp_path / "data", Options(durable=False))

    async def enter():
        async with embedded:
            await asyncio.Event().wait()

    entering = asyncio.create_task(enter())
    async with asyncio.timeout(10):
        while not (tmp_path / "data" / "lock").exists():
            await asyncio.sleep(0.001)
    entering.cancel()
    with pytest.raises(asyncio.CancelledError):
        await entering

    assert not any(server.alive() for server in embedded.servers)
    async with Embedded(tmp_path / "data", Options(durable=False)) as again:
        assert all(server.alive() for server in again.servers)
