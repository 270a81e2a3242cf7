"""The event loop that the edge and the workers run on, for everything beside them."""

import asyncio
from importlib import import_module
from importlib.util import find_spec


def new_loop() -> asyncio.AbstractEventLoop:
    """One of uvloop where it is installed."""
    if not find_spec("uvloop"):
        return asyncio.new_event_loop()
    loop: asyncio.AbstractEventLoop = import_module("uvloop").new_event_loop()
    return loop


def runner() -> asyncio.Runner:
    """A runner on such a loop."""
    return asyncio.Runner(loop_factory=new_loop)
