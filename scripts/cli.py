"""`reftide`: the operator's command line.

Commands are imported when they are called, so that `reftide --help` is quick. A new one is
a module of `scripts.commands` with a click command named `command`, and a line here.
"""

import os
import time
from importlib import import_module
from typing import Final

import click
from click.shell_completion import CompletionItem
from typing_extensions import override

from scripts.environment import Environment
from scripts.errors import Failure

#: By section of the help: the module of each command, and what it does.
COMMANDS: Final[dict[str, dict[str, tuple[str, str]]]] = {
    "Run": {
        "up": ("operate.up", "Run everything: servers, tables, edges, workers."),
        "edge": ("serve.edge", "Run one edge: HTTP in, events onto the streams."),
        "worker": ("serve.worker", "Run one worker: streams in, rows into Postgres."),
        "console": ("serve.console", "Serve pages for operators; who may use them."),
        "control": ("serve.control", "Serve the control API over HTTP."),
        "shards": (
            "recover.shards",
            "Show the shards of streams; change their number.",
        ),
        "schema": ("operate.schema", "Create the tables, or bring them up to date."),
        "seed": ("operate.seed", "Make the demo workspace of the vendors' examples."),
        "demo": ("develop.demo", "Send traffic to a running instance, and verify it."),
        "completion": ("operate.completion", "Print a shell's completion script."),
    },
    "Administer": {
        "workspaces": ("nouns", "Owners of programs, links and keys."),
        "programs": ("nouns", "What partners promote, and on what terms."),
        "partners": ("nouns", "Who promotes."),
        "links": ("nouns", "Codes that lead to a program and a partner."),
        "milestones": ("nouns", "Awards for a number of leads."),
        "domains": ("nouns", "Domains with codes of their own."),
        "keys": ("nouns", "API keys of clients."),
        "switches": ("nouns", "Switch everything, or a part, off and on."),
        "limits": ("nouns", "Requests a minute, for a limit or a key."),
        "import": ("operate.imports", "Links, partners, click ids of another system."),
        "tracker": ("website.tracker", "The tag that reports clicks from web pages."),
    },
    "Inspect": {
        "status": ("operate.status", "Say what is wrong, since when, and what to do."),
        "event": ("operate.event", "Find an event by any id, and who earned it."),
        "events": ("operate.events", "List recorded events, or follow new ones."),
        "customers": ("nouns", "Who a customer is, and which click it is bound to."),
        "stats": ("operate.stats", "Sum up clicks, leads and sales by link, day …"),
        "verify": ("operate.verify", "Check every counter against its events."),
        "doctor": ("operate.doctor", "Check versions, settings, tables and clocks."),
        "monitoring": ("operate.monitoring", "Alert rules, their tests, and a board."),
    },
    "Recover": {
        "quarantine": ("recover.quarantine", "Events that were not recorded, and why."),
        "resume": ("recover.resume", "Resume recording after a pause."),
        "spool": ("recover.spool", "Events that wait on an edge's disk."),
        "archive": ("recover.archive", "Events kept beyond the streams, for replays."),
        "replay": ("recover.replay", "Record again from the streams and the archive."),
        "replays": ("nouns", "Follow replays; pause, resume, cancel them."),
        "rewind": ("recover.rewind", "Let a consumer group read its streams again."),
        "reconcile": ("recover.reconcile", "Rebuild every counter from its events."),
    },
    "Retain and erase": {
        "export": ("operate.exports", "Write events to files, for other systems."),
        "partitions": ("operate.partitions", "Detach old months of events."),
        "erase": ("recover.erase", "Erase a person from everything that is kept."),
        "erasures": ("nouns", "Follow erasures."),
    },
    "Measure": {
        "bench": ("develop.bench", "Speed and cost beside others; storms and outages.")
    },
}

_EPILOG: Final = """\b
REDIS_URL and DATABASE_URL name the servers. Without them, commands use the
instance that `reftide up` runs on REFTIDE_DATA (.reftide unless set).

\b
  reftide links add SUMMER --program 1 --partner jane --url https://shop.example
  reftide keys add --scopes track
  reftide status --json

\b
Exit codes: 0 done; 1 a check found something wrong; 2 wrong usage, or a wrong
setting; 3 a server cannot be reached, or the port or the data directory is in
use. An error says what to do next.
"""


class LazyGroup(click.Group):
    """A group that lists its commands without importing them."""

    @override
    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for section in COMMANDS.values() for name in section]

    @override
    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        # The system hands over bytes; what is no UTF-8 no server takes.
        for text in args:
            try:
                text.encode()
            except UnicodeEncodeError as error:
                shown = ascii(text)
                raise click.UsageError(f"{shown}: give it in UTF-8.", ctx) from error
        return super().parse_args(ctx, args)

    @override
    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.NoSuchCommand as error:
            # click knows the imported ones only, and suggests none of them.
            raise click.NoSuchCommand(
                error.command_name, possibilities=self.list_commands(ctx), ctx=ctx
            ) from None

    @override
    def shell_complete(
        self, ctx: click.Context, incomplete: str
    ) -> list[CompletionItem[str]]:
        return [
            CompletionItem(name, help=line)
            for section in COMMANDS.values()
            for name, (_, line) in section.items()
            if name.startswith(incomplete)
        ] or click.Command.shell_complete(self, ctx, incomplete)

    @override
    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        for section in COMMANDS.values():
            if cmd_name in section:
                module = import_module(f"scripts.commands.{section[cmd_name][0]}")
                command: click.Command = (
                    module.group(cmd_name)
                    if hasattr(module, "group")
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
    context_settings={"help_option_names": ["-h", "--help"], "show_default": True},
)
@click.version_option(package_name="reftide", message="%(version)s")
def reftide() -> None:
    """Reftide records referral clicks and leads, each exactly once.

    See COMMAND --help for each command. With --json, standard output is one JSON document.
    """


def main() -> None:
    variables = os.environ  # noqa: TID251 - the entry point reads it for everybody
    clock = time.time  # noqa: TID251 - likewise the clock
    reftide(obj=Environment(variables, clock))


if __name__ == "__main__":
    main()
