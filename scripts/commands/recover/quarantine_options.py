"""The options by which `reftide quarantine` chooses entries."""

from collections.abc import Callable
from typing import Any, Final, TypeVar

import click

from scripts.parameters import Parsed, when
from scripts.services.parsers import whole
from scripts.services.recover.quarantine import REASONS

#: PostgreSQL's bigint.
_number: Final = whole(1, 2**63 - 1)

_Body = TypeVar("_Body", bound=Callable[..., Any])


def filters(*names: str) -> Callable[[_Body], _Body]:
    """The options that choose entries; `names` are those of the reason's."""
    options = [
        click.option(*names, "reason", type=click.Choice(REASONS), help="Only these."),
        when("--since"),
        when("--until", note="Last seen before then."),
        click.option("--workspace", metavar="NAME", help="Whose."),
        click.option(
            "--link", "code", metavar="CODE", help="Only what names it, by code or id."
        ),
        click.option("--dialect", metavar="NAME", help="Only what came by this API."),
        click.option(
            "--text", metavar="TEXT", help="In the code, detail, event id or envelope."
        ),
    ]

    def add(body: _Body) -> _Body:
        for option in reversed(options):
            body = option(body)
        return body

    return add


def _entry(value: str) -> int:
    try:
        return _number(value)
    except ValueError:
        what = f"{value!r} is no entry's number: see `reftide quarantine list`"
        raise ValueError(what) from None


#: The number of an entry.
ENTRY: Final = Parsed(_entry, "ID")

numbers = click.argument("ids", metavar="[ID]...", type=ENTRY, nargs=-1)
everything = click.option("--all", "everything", is_flag=True, help="All open ones.")
dry = click.option("--dry-run", is_flag=True, help="Only tell how many.")
