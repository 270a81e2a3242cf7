"""`reftide console`: the pages for operators, and their users."""

import asyncio
import ipaddress
import sys
import webbrowser
from functools import partial
from typing import Any, Final

import click

from scripts.console.app import build_app
from scripts.console.rendering import BASE
from scripts.control.mount import table as control_routes
from scripts.control.process import serve
from scripts.environment import Environment
from scripts.errors import UsageProblem
from scripts.output import Report, reporting, table
from scripts.servers import postgres
from scripts.services.administer.access import users

_COLUMNS: Final = ("name", "role", "workspaces", "has_password", "created_at")


@click.group(
    invoke_without_command=True,
    epilog="""\b
  reftide console users add jane --role operator
  reftide console
  reftide console --open

\b
Without --open users sign in. Settings, all from the environment:
  REFTIDE_SECRET, REDIS_URL, DATABASE_URL   required with servers of your own
  REFTIDE_CONSOLE_USER_HEADER               a header in which a proxy names the user (none)
  REFTIDE_CONSOLE_TRUSTED_PROXIES           networks whose word for that counts (none)
The control API is served too: see `reftide control --help`. SIGTERM: exit 0.
""",
)
@click.option("--host", default="127.0.0.1", help="Where to listen.")
@click.option("--port", type=click.IntRange(0, 65535), default=8090)
@click.option(
    "--open",
    "is_open",
    is_flag=True,
    help="Let anybody on this machine in without signing in, and open a browser.",
)
@click.pass_context
def command(context: click.Context, host: str, port: int, *, is_open: bool) -> None:
    """Serve pages for operators: how everything stands, and what to do about it."""
    if context.invoked_subcommand is not None:
        return
    environment: Environment = context.obj
    if is_open and not _is_loopback(host):
        raise click.UsageError(
            f"--open is for this machine alone, and --host {host} lets others in: leave"
            " out one of them."
        )
    environment.redis_url()
    environment.database_url()
    app = build_app(environment, control_routes(environment), is_open=is_open)
    asyncio.run(serve(app, host, port, partial(_greet, is_open=is_open)))


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _greet(url: str, *, is_open: bool) -> None:
    click.echo(f"ready {url}{BASE}")
    if is_open:
        webbrowser.open(f"{url}{BASE}")


@command.group("users")
def users_() -> None:
    """Who may use the console. A viewer reads, an operator acts, an admin does all."""


def _password() -> str:
    """At a terminal it is asked for twice. Raises UsageProblem."""
    given = sys.stdin
    text: str = (
        click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
        if given.isatty()
        else given.readline().rstrip("\r\n")
    )
    if not text:
        raise UsageProblem(
            "There is no password on standard input.",
            "give it there as a line, or run the command at a terminal.",
        )
    return text


@users_.command("add")
@click.argument("name")
@click.option("--role", type=click.Choice(users.ROLES), default="viewer")
@click.option(
    "--workspace",
    "workspaces",
    multiple=True,
    help="Only what belongs to it; several may be named.  [default: the installation]",
)
@click.option(
    "--no-password", is_flag=True, help="Only a proxy signs it in, by its header."
)
@reporting
async def add(environment: Environment, /, **asked: Any) -> Report:
    """Add a user; its password is asked for, or read from standard input."""
    name, role = asked["name"], asked["role"]
    password = None if asked["no_password"] else _password()
    async with postgres(environment) as connection, connection.transaction():
        await users.add(connection, name, role, asked["workspaces"], password)
    return Report({"name": name, "role": role}, f"User {name} may sign in as {role}.")


@users_.command("list")
@reporting
async def list_(environment: Environment) -> Report:
    """List the users, and what they may."""
    async with postgres(environment) as connection:
        found = await users.listed(connection)
    return Report({"users": found}, lambda: table(found, _COLUMNS))


@users_.command()
@click.argument("name")
@reporting
async def remove(environment: Environment, name: str) -> Report:
    """Remove a user, and end its sessions."""
    async with postgres(environment) as connection:
        await users.remove(connection, name)
    return Report({"name": name}, f"User {name} is removed and signed out.")


@users_.command()
@click.argument("name")
@reporting
async def password(environment: Environment, name: str) -> Report:
    """Set another password, and end the user's sessions."""
    text = _password()
    async with postgres(environment) as connection:
        await users.change_password(connection, name, text)
    return Report({"name": name}, f"User {name} has another password.")
