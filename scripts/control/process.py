"""A process that serves an application until it is told to stop."""

import asyncio
import signal
from collections.abc import Callable

from aiohttp import web

from scripts.errors import Unreachable

_DRAIN_SECONDS = 5.0


async def serve(
    app: web.Application, host: str, port: int, greet: Callable[[str], None]
) -> None:
    """Serve until SIGTERM or SIGINT; `greet` is told the URL. Raises Unreachable."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=_DRAIN_SECONDS)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            raise Unreachable(
                f"Cannot listen on {host} port {port}: {error.strerror}",
                "choose another with --port, or end what listens there.",
            ) from error
        where, bound = runner.addresses[0][:2]
        greet(f"http://{f'[{where}]' if ':' in where else where}:{bound}")
        stop = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        await stop.wait()
    finally:
        await runner.cleanup()
