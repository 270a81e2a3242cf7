"""Redis is frozen under load: nobody waits for long, and what was answered is recorded."""

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg
import orjson
import pytest
from aiohttp import ClientError, ClientSession

from ingest.contracts.clickid import KeyRing
from scripts.bench.environment.processes import free_port
from tests.support.directory import furnish, miscounted
from tests.support.eventually import eventually
from tests.support.servers.cli import SECRET, servers_of
from tests.support.servers.valkey import Valkey, running_valkey

pytestmark = pytest.mark.e2e

RATE = 150  # requests a second, whatever becomes of the ones before
LEADS = 10  # one request of so many is a lead
BODY = orjson.dumps({"affiliate_url": "https://shop.example/?aff=L0"})


@dataclass
class Load:
    """Clicks at a fixed rate, and leads of them with a key, which is checked and counted.

    What was answered, and how long each answer took.
    """

    url: str
    key: str | None = None
    seconds: list[float] = field(default_factory=list)
    clicks: list[str] = field(default_factory=list)
    leads: list[str] = field(default_factory=list)
    refused: int = 0
    unanswered: int = 0

    async def run(self, seconds: float) -> None:
        began = time.monotonic()
        async with ClientSession(self.url) as session, asyncio.TaskGroup() as tasks:
            for number in range(round(seconds * RATE)):
                await asyncio.sleep(began + number / RATE - time.monotonic())
                is_lead = self.key and self.clicks and number % LEADS == 0
                send = self._lead if is_lead else self._click
                tasks.create_task(self._timed(send(session, number)))

    async def _timed(self, request: Coroutine[None, None, bool]) -> None:
        began = time.monotonic()
        try:
            self.refused += not await request
        except ClientError:
            self.unanswered += 1
        else:
            self.seconds.append(time.monotonic() - began)

    async def _click(self, session: ClientSession, number: int) -> bool:
        headers = {"User-Agent": f"somebody {number}"}
        async with session.post(
            "/api/v1/track/click", data=BODY, headers=headers
        ) as answer:
            body = await answer.json()
        if answer.status == 200:
            self.clicks.append(body["click_id"])
        return 200 == answer.status

    async def _lead(self, session: ClientSession, number: int) -> bool:
        headers = {"Authorization": f"Bearer {self.key}"}
        who = f"user {number}"
        body = {
            "clickId": self.clicks[-1],
            "eventName": "Sign Up",
            "customerExternalId": who,
        }
        async with session.post(
            "/api/track/lead", data=orjson.dumps(body), headers=headers
        ) as answer:
            await answer.read()
        if answer.status == 200:
            self.leads.append(who)
        return 200 == answer.status

    def within(self, part: float) -> float:
        """So many seconds this part of the requests took at most."""
        return sorted(self.seconds)[int(part * len(self.seconds)) - 1]

    def figures(self) -> str:
        return (
            f"{len(self.seconds)} requests, {self.refused} refused,"
            f" p50 {self.within(0.5):.3f} s, p99 {self.within(0.99):.3f} s,"
            f" max {max(self.seconds):.3f} s"
        )


@contextmanager
def a_process(
    module: str, environment: dict[str, str], ends_with: int = 0
) -> "Iterator[subprocess.Popen[bytes]]":
    process = subprocess.Popen([sys.executable, "-m", module], env=environment)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        assert ends_with == process.wait(20)


@pytest.fixture
def valkey() -> Iterator[Valkey]:
    with running_valkey() as server:
        yield server


async def is_served(session: ClientSession, url: str) -> bool:
    try:
        async with session.get(f"{url}/readyz") as answer:
            return 200 == answer.status
    except ClientError:
        return False


@pytest.mark.parametrize(
    "frozen_seconds",
    [
        pytest.param(4, id="briefly"),
        pytest.param(
            30, id="for_long", marks=[pytest.mark.slow, pytest.mark.timeout(180)]
        ),
    ],
)
async def test_while_redis_hangs_nobody_waits_and_nothing_is_lost(
    frozen_seconds: int, valkey: Valkey, database_url: str, tmp_path: Path
) -> None:
    environment = an_environment(valkey, tmp_path) | {"DATABASE_URL": database_url}
    load = Load(f"http://127.0.0.1:{environment['REFTIDE_PORT']}")
    async with a_furnished(database_url) as connection:
        with ExitStack() as stack:
            await serve(stack, environment, load.url)
            stack.enter_context(a_process("workers", environment))
            load.key = await asyncio.to_thread(a_key, valkey, database_url)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(load.run(1 + frozen_seconds + 2))
                await asyncio.sleep(1)
                valkey.freeze()
                await asyncio.sleep(frozen_seconds)
                valkey.thaw()
            await eventually(lambda: are_recorded(connection, load))
        assert [] == await miscounted(connection)
    print(load.figures())  # noqa: T201 -- for who asks with -s

    assert 0 == load.refused
    assert load.within(0.95) < 1
    assert max(load.seconds) < frozen_seconds
    assert not [*(tmp_path / "spool").glob("edge-*")]


async def test_an_edge_killed_while_it_spools_has_lost_nothing(
    valkey: Valkey, database_url: str, tmp_path: Path
) -> None:
    environment = an_environment(valkey, tmp_path) | {"DATABASE_URL": database_url}
    load = Load(f"http://127.0.0.1:{environment['REFTIDE_PORT']}")
    await asyncio.to_thread(valkey.kill)
    with ExitStack() as stack:
        doomed = await serve(stack, environment, load.url, ends_with=-signal.SIGKILL)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(load.run(1))
            await asyncio.sleep(0.8)
            doomed.kill()
    assert load.clicks
    assert load.unanswered

    await asyncio.to_thread(valkey.start)
    async with a_furnished(database_url) as connection:
        with ExitStack() as stack:
            await serve(stack, environment, load.url)
            stack.enter_context(a_process("workers", environment))
            await eventually(lambda: are_recorded(connection, load))
        assert [] == await miscounted(connection)
    assert not [*(tmp_path / "spool").glob("edge-*")]


def an_environment(valkey: Valkey, data: Path) -> dict[str, str]:
    return {
        "REDIS_URL": valkey.url,
        "REFTIDE_DATA": str(data),
        "REFTIDE_SECRET": SECRET,
        "REFTIDE_PORT": str(free_port()),
        "REFTIDE_WORKER_NAME": "steady",
    }


async def serve(
    stack: ExitStack, environment: dict[str, str], url: str, ends_with: int = 0
) -> "subprocess.Popen[bytes]":
    """An edge that answers."""
    process = stack.enter_context(a_process("ingest", environment, ends_with))
    async with ClientSession() as session:
        await eventually(lambda: is_served(session, url))
    return process


@asynccontextmanager
async def a_furnished(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(database_url)
    try:
        await furnish(connection)
        yield connection
    finally:
        await connection.close()


def a_key(valkey: Valkey, database_url: str) -> str:
    """An API key, which workers publish within a moment."""
    cli = servers_of(valkey.url, database_url)
    made = cli.document("keys", "add", "--scopes", "track", "--workspace", "here")
    return str(made["secret"])


async def are_recorded(connection: asyncpg.Connection, load: Load) -> bool:
    keys = KeyRing([SECRET.encode()])
    tokens = [keys.verify(text) for text in load.clicks]
    clicks = await connection.fetchval(
        "select count(*) from events where id = any($1)",
        [token.click_id for token in tokens if token],
    )
    leads = await connection.fetchval(
        "select count(*) from events join customers on customers.id = customer_id"
        " where kind = 'lead' and external_id = any($1)",
        load.leads,
    )
    return (len(load.clicks), len(load.leads)) == (clicks, leads)
