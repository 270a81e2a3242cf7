"""The event loop that the edge and the workers run on, for everything beside them."""

import asyncio
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec


def runner() -> asyncio.Runner:
    """A runner on uvloop where it is installed."""
    loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None
    if find_spec("uvloop"):
        loop_factory = import_module("uvloop").new_event_loop
    return asyncio.Runner(loop_factory=loop_factory)
