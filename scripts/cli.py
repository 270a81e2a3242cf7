"""`reftide`: the operator's command line. The entry point; nobody imports it but tests.

Commands are imported when they are called, so that `reftide --help` is quick. A new one is
a module of `scripts.commands` with a click command named `command`, and a line here.

Exit codes: 0 fine, 1 the check found something wrong, 2 asked in a wrong way or a setting
is wrong, 3 a server cannot be reached, or the port or data directory is another's.
"""

import os
import time
from importlib import import_module
from typing import Final

import click
from typing_extensions import override

from scripts.environment import Environment
from scripts.errors import Failure

#: What there is: the module that has it, and what it does.
COMMANDS: Final[dict[str, dict[str, tuple[str, str]]]] = {
    "Run": {
        "up": ("operate.up", "Run everything: servers, tables, edges, workers."),
        "schema": ("operate.schema", "Create the tables, or bring them up to date."),
        "demo": (
            "develop.demo",
            "Fire real traffic at a running instance, and check it.",
        ),
        "seed": ("operate.seed", "Make the demo workspace of the vendors' examples."),
        "edge": ("operate.edge", "Run one edge: HTTP in, events onto the streams."),
        "worker": (
            "operate.worker",
            "Run one worker: events from the streams into Postgres.",
        ),
    },
    "Administer": {
        "workspaces": ("administer.nouns", "Who owns links, programs and keys."),
        "programs": ("administer.nouns", "What partners promote, with its windows."),
        "partners": ("administer.nouns", "Who promotes."),
        "links": ("administer.nouns", "Codes that lead to a program and a partner."),
        "milestones": (
            "administer.nouns",
            "What partners earn by the number of their leads.",
        ),
        "domains": (
            "administer.nouns",
            "Domains whose codes are a namespace of their own.",
        ),
        "keys": ("administer.nouns", "API keys of clients."),
        "switches": ("administer.nouns", "What is off: everything, or a part."),
        "limits": ("administer.nouns", "Requests a minute, of a limit or a key."),
    },
    "Look": {
        "status": ("operate.status", "The books, the lag, the workers, the memory."),
        "event": ("operate.event", "Where one event is."),
        "quarantine": (
            "recover.quarantine",
            "What could not be recorded, and putting it back.",
        ),
        "spool": ("recover.spool", "Events that wait on the disk of an edge."),
        "archive": (
            "recover.archive",
            "What is kept beyond the streams, to be replayed.",
        ),
        "verify": (
            "operate.verify",
            "Prove that every counter and the books are right.",
        ),
        "doctor": ("operate.doctor", "Check how the servers are set up."),
    },
    "Repair": {
        "reconcile": (
            "recover.reconcile",
            "Make every counter the sum of its events again.",
        ),
        "partitions": (
            "operate.partitions",
            "Take old months of events out of the way.",
        ),
        "resume": ("recover.resume", "Let recording go on after it paused."),
    },
    "Put right": {
        "replay": ("recover.replay", "Record again what streams and archive hold."),
        "replays": ("recover.replays", "Replays: how they go, and stopping them."),
        "rewind": ("recover.rewind", "Let a group read its streams again."),
    },
    "Erase": {
        "erase": ("recover.erase", "Take a person out of everything that is kept."),
        "erasures": ("recover.erasures", "Who was erased, and how far that is."),
    },
    "Measure": {
        "bench": ("develop.bench", "Speed and cost beside others; storms and outages."),
    },
}

_EPILOG: Final = """\b
Servers are found by REDIS_URL and DATABASE_URL, else in the instance that
`reftide up` runs on REFTIDE_DATA (.reftide unless set).

\b
  reftide links add SUMMER --program 1 --partner jane --url https://shop.example
  reftide keys add --scopes track
  reftide status --json

\b
Exit codes: 0 fine, 1 the check found something wrong, 2 asked in a wrong way or a
setting is wrong, 3 a server cannot be reached, or the port or the data directory is
another's; the error says what to do.
"""


class LazyGroup(click.Group):
    """A group that lists its commands without importing them."""

    @override
    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for section in COMMANDS.values() for name in section]

    @override
    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        for section in COMMANDS.values():
            if cmd_name in section:
                module = import_module(f"scripts.commands.{section[cmd_name][0]}")
                command: click.Command = (
                    module.commands[cmd_name]
                    if hasattr(module, "commands")
                    else module.command
                )
                return command
        return None

    @override
    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except Failure as error:
            click.ClickException(str(error)).show()
            ctx.exit(error.exit_code)

    @override
    def format_commands(
        self, ctx: click.Context, formatter: click.HelpFormatter
    ) -> None:
        for title, section in COMMANDS.items():
            with formatter.section(title):
                formatter.write_dl(
                    [(name, line) for name, (_, line) in section.items()]
                )


@click.group(
    cls=LazyGroup,
    epilog=_EPILOG,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(package_name="reftide", message="%(version)s")
def reftide() -> None:
    """Reftide records referral clicks and leads, each exactly once.

    Every command explains itself with --help. Where there is --json, standard output is
    one JSON document.
    """


def main() -> None:
    variables = os.environ  # noqa: TID251 - the entry point reads it for everybody
    clock = time.time  # noqa: TID251 - likewise the clock
    reftide(obj=Environment(variables, clock))


if __name__ == "__main__":
    main()
