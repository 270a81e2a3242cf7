"""`reftide workspaces`, `programs`, `links` …: commands made of the declared nouns."""

from collections.abc import Callable
from contextlib import AsyncExitStack
from textwrap import dedent, indent
from typing import Any

import click

from scripts.environment import Environment
from scripts.output import (
    csv_option,
    csv_rows,
    emit,
    facts,
    in_one_format,
    json_option,
    table,
)
from scripts.parameters import Parsed
from scripts.servers import Connection, ask_postgres, redis_server
from scripts.services.noun import Action, Noun, NounFacts, NounField, Shows, Table
from scripts.services.table import noun


def group(name: str) -> click.Group:
    """The commands of a noun."""
    return _group(noun(name))


def _group(found: Noun) -> click.Group:
    examples = indent(dedent(found.examples).strip("\n"), "  ")
    made = click.Group(found.name, help=found.help, epilog=f"\b\n{examples}")
    for action in found.actions:
        made.add_command(_command(action, action.verb))
        if action.hidden_alias:
            made.add_command(_command(action, action.hidden_alias, hidden=True))
    for inner in found.inner:
        made.add_command(_group(inner))
    return made


def _command(action: Action, name: str, *, hidden: bool = False) -> click.Command:
    command = click.Command(
        name,
        params=[_parameter(*named) for named in action.fields.items()],
        callback=click.pass_obj(_callback(action)),
        help=action.help,
        hidden=hidden,
    )
    is_table = isinstance(action.shows, Table)
    return json_option(csv_option(command) if is_table else command)


def _parameter(name: str, field: NounField) -> click.Parameter:
    kind: click.ParamType[Any] = (
        click.Choice(field.choices)
        if field.choices
        else Parsed(field.parse, name, may_be_piped=field.may_be_piped)
    )
    given: dict[str, Any] = {"metavar": field.metavar}
    # A default of None would stand in for what is required; a switch needs it.
    if not field.is_required:
        given["default"] = field.default
    if field.is_argument:
        return click.Argument([name], type=kind, required=field.is_required, **given)
    option = "--" + (field.option or name.replace("_", "-"))
    if field.is_switch and field.default is None:
        option += f"/--no-{option.removeprefix('--')}"
    return click.Option(
        [option, name],
        help=field.help,
        type=click.BOOL if field.is_switch else kind,
        is_flag=field.is_switch,
        show_default=bool(field.default),
        required=field.is_required,
        **given,
    )


def _callback(action: Action) -> Callable[..., None]:
    def run(
        environment: Environment,
        /,
        *,
        as_json: bool,
        as_csv: bool = False,
        **given: Any,
    ) -> None:
        in_one_format(as_json=as_json, as_csv=as_csv)
        changes = [given[name] for name in action.changes]
        if changes and all(change is None for change in changes):
            raise click.UsageError("nothing to change: name what, see --help")

        async def ask(connection: Connection) -> Any:
            also: dict[str, Any] = {}
            if action.is_sealing:
                also["secrets"] = environment.secrets()
            async with AsyncExitStack() as stack:
                if action.asks_redis:
                    client = redis_server(environment)
                    also["redis"] = await stack.enter_async_context(client)
                async with connection.transaction():
                    return await action.run(connection, **given, **also)

        found = ask_postgres(environment, ask)
        key = action.shows.key if isinstance(action.shows, Table) else ""
        document = {key: found} if key else found
        if as_csv and isinstance(action.shows, Table):
            csv_rows(found, action.shows.columns.split())
        else:
            emit(as_json, document, lambda: _show(action.shows, found, given))

    return run


def _show(shows: Shows, found: Any, given: dict[str, Any]) -> None:
    match shows:
        case Table(columns, title, empty, _):
            if empty and not found:
                click.echo(empty)
            else:
                table(found, columns.split(), title)
        case NounFacts():
            _show_facts(shows, found, given)
        case str():
            click.echo(shows.format_map(found))
        case _:
            click.echo(shows(found))


def _show_facts(shows: NounFacts, row: dict[str, Any], given: dict[str, Any]) -> None:
    inner, row = shows.inner, shows.shown(row)
    own = {name: value for name, value in row.items() if name not in inner}
    facts(own, shows.title.format_map(row))
    for name, rows in inner.items():
        if row[name]:
            table(row[name], rows.columns.split(), rows.title)
    if shows.note and (note := shows.note(given)):
        click.echo(note)
