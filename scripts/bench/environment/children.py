"""Processes of ours beside a measurement: started, waited for, ended."""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from scripts.errors import Unreachable

HOST: Final = "127.0.0.1"
_START_SECONDS: Final = 20.0
_STOP_SECONDS: Final = 12.0
_LOOK_AGAIN_SECONDS: Final = 0.02
_TAIL: Final = 2000


def free_port() -> int:
    """A port of the loopback that nobody listens on now."""
    with socket.create_server((HOST, 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@dataclass(frozen=True, slots=True)
class Checkout:
    """Where processes come from: a folder with the packages, and the Python to run them."""

    root: Path
    python: str


#: This one.
HERE: Final = Checkout(Path(__file__).parents[3], sys.executable)


@contextmanager
def running(
    module: str,
    arguments: Sequence[str],
    log: Path,
    variables: Mapping[str, str] | None = None,
    checkout: Checkout = HERE,
) -> Iterator["subprocess.Popen[bytes]"]:
    """`python -m module` for the length of a `with`; it is asked to end, then made to.

    A module that ends in `.py` is a file.
    """
    how = ["-P"] if module.endswith(".py") else ["-m"]
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 -- our own modules
            [checkout.python, *how, module, *arguments],
            cwd=checkout.root,
            env=variables,
            stdout=output,
            stderr=output,
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def serving(
    module: str,
    arguments: Sequence[str],
    port: int,
    log: Path,
    variables: Mapping[str, str] | None = None,
    checkout: Checkout = HERE,
) -> Iterator[int]:
    """The same from when it listens on the port; its process id.

    Raises Unreachable where it ends by itself or takes too long, with what it said.
    """
    with running(module, arguments, log, variables, checkout) as process:
        _await_port(process, module, port, log)
        yield process.pid


def silent(module: str, log: Path) -> Unreachable:
    """What to raise of a process that does not do what it is for: what it said."""
    said = log.read_text("utf-8", "replace")[-_TAIL:].strip()
    return Unreachable(
        f"`python -m {module}` does not serve:\n{said}",
        "see what it says; a measurement needs the same installation as an edge.",
    )


def _await_port(
    process: "subprocess.Popen[bytes]", module: str, port: int, log: Path
) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        try:
            socket.create_connection((HOST, port), timeout=1).close()
        except OSError:
            time.sleep(_LOOK_AGAIN_SECONDS)
        else:
            return
    raise silent(module, log)
