"""A call of the product that blocks its event loop fails the test.

Who blocks is judged by the innermost coroutine of the project: one of a test, or of a
command, has its loop to itself and may.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from inspect import CO_ASYNC_GENERATOR, CO_COROUTINE
from pathlib import Path
from typing import Final

from blockbuster import BlockBuster

_ROOT: Final = Path(__file__).resolve().parents[2]
_PRODUCT: Final = tuple(f"{_ROOT / name}/" for name in ("ingest", "workers"))
_OTHERS: Final = tuple(f"{_ROOT / name}/" for name in ("scripts", "tests"))
_COROUTINE: Final = CO_COROUTINE | CO_ASYNC_GENERATOR

#: Below these functions, by the end of their file's path, the product may block.
_ALLOWED: Final = (
    # Looks for ~/.pgpass and certificates, once for each new connection.
    ("asyncpg/connect_utils.py", "_parse_connect_arguments"),
    # Shows source lines in tracebacks: only logs that nobody has configured, as here.
    ("structlog/dev.py", "__call__"),
    # Reads /proc, which is memory, when somebody reads the metrics.
    ("prometheus_client/process_collector.py", "collect"),
    # Reads what the edge before had, when an edge starts and serves nobody yet.
    ("ingest/directory/cache.py", "read_snapshot"),
    # Locks for a moment, wherever code is that it measures.
    ("coverage/collector.py", "lock_data"),
)


@contextmanager
def blocking_calls_fail() -> Iterator[None]:
    """Inside the block, they raise `blockbuster.BlockingError`."""
    guard = BlockBuster(["ingest", "workers"])
    for function in guard.functions.values():
        usual = function.can_block_predicate
        function.can_block_predicate = _unless_own_loop(usual)
        for file, name in _ALLOWED:
            function.can_block_in(file, name)
    guard.activate()
    try:
        yield
    finally:
        guard.deactivate()


def _unless_own_loop(usual: Callable[..., bool]) -> Callable[..., bool]:
    return lambda *args, **options: usual(*args, **options) or _has_own_loop()


def _has_own_loop() -> bool:
    frame = sys._getframe()
    while frame := frame.f_back:  # type: ignore[assignment]
        file = frame.f_code.co_filename
        if frame.f_code.co_flags & _COROUTINE and file.startswith(_PRODUCT + _OTHERS):
            return file.startswith(_OTHERS)
    return False
