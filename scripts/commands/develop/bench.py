"""`reftide bench`: measurements, which only a checkout has."""

from importlib import import_module
from importlib.util import find_spec
from typing import Final

import click

from scripts.errors import UsageProblem


@click.command(
    add_help_option=False,
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
)
def _absent() -> None:
    """Measure against a baseline; needs a checkout."""
    raise UsageProblem(
        "`reftide bench` needs a checkout: an installed package has no measurements.",
        "clone the repository and run `scripts/test --co -q` in it once; then"
        " `.venv/bin/reftide bench` is there.",
    )


def _found() -> click.Command:
    if find_spec("scripts.bench") is None:
        return _absent
    group: click.Command = import_module("scripts.bench.commands").command
    return group


command: Final = _found()
