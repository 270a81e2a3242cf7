"""Processes of ours beside a measurement: started, waited for, ended. Used by `edge`, `load`."""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from scripts.output import Unreachable

HOST: Final = "127.0.0.1"
_START_SECONDS: Final = 20.0
_STOP_SECONDS: Final = 10.0
_LOOK_AGAIN_SECONDS: Final = 0.02
_TAIL: Final = 2000


def free_port() -> int:
    """A port of the loopback that nobody listens on now."""
    with socket.create_server((HOST, 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@contextmanager
def serving(
    module: str,
    arguments: Sequence[str],
    port: int,
    log: Path,
    variables: Mapping[str, str] | None = None,
) -> Iterator[None]:
    """`python -m module` for the length of a `with`, from when it listens on the port.

    Raises Unreachable where it ends by itself or takes too long, with what it said.
    """
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 -- our own modules
            [sys.executable, "-m", module, *arguments],
            env=variables,
            stdout=output,
            stderr=output,
        )
    try:
        _await_port(process, module, port, log)
        yield
    finally:
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _await_port(
    process: subprocess.Popen[bytes], module: str, port: int, log: Path
) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        try:
            socket.create_connection((HOST, port), timeout=1).close()
        except OSError:
            time.sleep(_LOOK_AGAIN_SECONDS)
        else:
            return
    said = log.read_text("utf-8", "replace")[-_TAIL:].strip()
    raise Unreachable(
        f"`python -m {module}` does not serve:\n{said}",
        "see what it says; a measurement needs the same installation as an edge.",
    )
