"""`reftide up`: everything that Reftide needs, in the foreground, until Ctrl-C."""

import asyncio
import os
import shlex
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Final

import click

from scripts.environment import Environment
from scripts.stack.run import StackPlan, run
from scripts.stack.supervision import RECORDING_NICENESS

#: What a shell calls a process that Ctrl-C ended.
_INTERRUPTED: Final = 130

_SERVERS: Final = ("REDIS_URL", "DATABASE_URL")

_PAGE: Final = "https://yoursite.com/pricing"


@click.command(
    epilog="""\b
With REDIS_URL and DATABASE_URL set, it starts no servers and uses those; set
REFTIDE_SECRET too. Otherwise it runs a Valkey and a PostgreSQL in the data directory.
Ctrl-C drains and stops everything; a second Ctrl-C does not wait.

The first start makes the demo workspace, whose API keys are in the vendors' pages. A
start on another --host than a loopback address does not, and revokes these keys.

Behind a proxy, name its network, so that edges believe its X-Forwarded-For:
  REFTIDE_TRUSTED_PROXIES=10.1.2.3/32 scripts/up
"""
)
@click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    help="The data directory.  [default: REFTIDE_DATA or .reftide]",
)
@click.option("--host", default="127.0.0.1", help="Where to listen.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8080,
    help="The port that the edges share; 0 is any free one.",
)
@click.option(
    "--admin-port",
    type=click.IntRange(0, 65535),
    help="The port of the first edge's metrics; the other edges, then the workers, take"
    " the next ports.  [default: REFTIDE_ADMIN_PORT, or any that are free]",
)
@click.option(
    "--console",
    type=click.IntRange(1, 65535),
    is_flag=False,
    flag_value=8090,
    metavar="[PORT]",
    help="Run the console too, for this machine.  [port: 8090]",
)
@click.option("--edges", type=click.IntRange(1, 64), default=1)
@click.option("--workers", type=click.IntRange(1, 64), default=1)
@click.option(
    "--no-demo",
    "has_demo",
    is_flag=True,
    flag_value=False,
    default=True,
    help="Leave out the demo workspace, and revoke its published API keys.",
)
@click.option(
    "--appendfsync",
    type=click.Choice(["everysec", "always"]),
    default="everysec",
    help="How soon Valkey syncs: `always` survives power loss, and a kill of Valkey"
    " while its disk is busy.",
)
@click.option(
    "--niceness",
    type=click.IntRange(0, 19),
    default=RECORDING_NICENESS,
    help="How far workers and PostgreSQL give way to edges and Valkey where cores are short; 0"
    " is not at all.",
)
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    help="Of edges and workers.  [default: REFTIDE_LOG_LEVEL or info]",
)
@click.option(
    "--verbose",
    "is_verbose",
    is_flag=True,
    help="Log edges and workers here, not under DATA/log.",
)
@click.pass_obj
def command(
    environment: Environment,
    /,
    *,
    data: Path | None,
    admin_port: int | None,
    log_level: str | None,
    **options: Any,
) -> None:
    """Run everything: servers, tables, edges and workers."""
    chosen = {"REFTIDE_DATA": str((data or environment.data).absolute())}
    if log_level:
        chosen["REFTIDE_LOG_LEVEL"] = log_level
    if admin_port is not None:
        chosen["REFTIDE_ADMIN_PORT"] = str(admin_port)
    ours = Environment({**environment.variables, **chosen}, environment.clock)
    is_embedded = _is_embedded(environment)
    asyncio.run(_until_told(StackPlan(ours, is_embedded=is_embedded, **options)))


def _is_embedded(environment: Environment) -> bool:
    given = [name for name in _SERVERS if environment.variables.get(name, "").strip()]
    if len(given) == 1:
        missing = next(name for name in _SERVERS if name not in given)
        raise click.UsageError(
            f"{given[0]} is set and {missing} is not: set both to use servers of your"
            " own, or unset both to use what this command brings."
        )
    return not given


async def _until_told(plan: StackPlan) -> None:
    running = asyncio.ensure_future(run(plan, _say, partial(_greet, plan)))

    def stop() -> None:
        if running.cancelling():
            # The kernel ends edges and workers with us, and asks the servers to stop.
            os._exit(_INTERRUPTED)
        _say("Stopping; once more to stop at once")
        running.cancel()

    def hang_up() -> None:
        # A terminal that closes says so twice, its shell and the kernel: once is meant.
        if not running.cancelling():
            stop()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)
    # Not where `nohup` has it ignored.
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        loop.add_signal_handler(signal.SIGHUP, hang_up)
    with suppress(asyncio.CancelledError):
        await running


def _say(line: str) -> None:
    # The reader of our output may be gone; the instance goes on.
    with suppress(OSError):
        click.echo(line)
        sys.stdout.flush()


def _greet(plan: StackPlan, url: str, published: Sequence[str]) -> None:
    _say(f"ready {url}")
    if not published:
        return  # the examples need them
    _say(f"Published API keys that work here: {', '.join(published)}")
    if not plan.is_embedded:
        _say("  Anybody may use them: revoke them with `reftide keys revoke`")
        return
    _say(f"Try the demo: {_prefix(plan)}{_program()} demo")
    _say(
        f"or a click:   curl {url}/api/v1/track/click -H 'Content-Type:"
        f' application/json\' -d \'{{"affiliate_url": "{_PAGE}?aff=PARTNER123"}}\''
    )
    _say(f"or a browser: {url}/try")


def _prefix(plan: StackPlan) -> str:
    """What another terminal has to set to find this instance."""
    if plan.data == Path(".reftide").absolute():
        return ""
    return f"REFTIDE_DATA={shlex.quote(str(plan.data))} "


def _program() -> str:
    program = Path(sys.argv[0]).absolute()
    if program.is_relative_to(Path.cwd()):
        program = program.relative_to(Path.cwd())
    return shlex.quote(str(program)) if program.name == "reftide" else "reftide"
