"""Turn this process into one of the services."""

import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import NoReturn

from ingest.contracts.variables import SettingsError, Variables
from scripts.environment import Environment
from scripts.stack.ports import Address


def note_admin_port(environment: Environment, kind: str) -> None:
    """Have `status` find the admin port that a process will have."""
    with suppress(SettingsError):  # the process itself says what is wrong
        where = Variables(environment.variables).admin()
        if where.port:
            url = Address(where.host, where.port).reachable.url
            environment.note_admin_url(f"{kind}-{where.port}", url)


def become(module: str, variables: Mapping[str, str]) -> NoReturn:
    """Run `python -m module` in this process's place: same id, signals, output."""
    sys.stdout.flush()
    sys.stderr.flush()
    program = [sys.executable, "-m", module]
    os.execve(sys.executable, program, dict(variables))  # noqa: S606 - our own program
