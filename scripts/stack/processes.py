"""Turn this process into one of the services."""

import os
import sys
from collections.abc import Mapping
from typing import NoReturn


def become(module: str, variables: Mapping[str, str]) -> NoReturn:
    """Run `python -m module` in this process's place: same id, signals, output."""
    sys.stdout.flush()
    sys.stderr.flush()
    program = [sys.executable, "-m", module]
    os.execve(sys.executable, program, dict(variables))  # noqa: S606 - our own program
