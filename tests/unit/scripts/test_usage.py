"""What commands say to who leaves out what they need."""

from collections.abc import Iterator

import click
import pytest

from scripts.cli import reftide
from tests.support.servers.cli import Cli


def needing(group: click.Group, *path: str) -> Iterator[tuple[str, ...]]:
    """The commands that cannot run without an argument or an option."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from needing(command, *path, name)
        elif command and any(each.required for each in command.params):
            yield (*path, name)


@pytest.mark.parametrize("path", [*needing(reftide)], ids=" ".join)
def test_a_command_without_what_it_needs_names_it(path: tuple[str, ...]) -> None:
    said = Cli().refusal(*path)

    assert "Missing " in said
    assert f"Try 'reftide {' '.join(path)} --help' for help." in said
