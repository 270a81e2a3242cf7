"""The options by which `reftide quarantine` chooses entries."""

from collections.abc import Callable
from typing import Any, Final, TypeVar

import click

from scripts.parameters import when

_REASONS: Final = (
    "undecodable", "unstorable", "future_id", "crash_loop", "unknown_link",
    "inactive_link", "unknown_program", "unknown_click", "expired", "unauthorised",
)  # fmt: skip

_Body = TypeVar("_Body", bound=Callable[..., Any])


def filters(*names: str) -> Callable[[_Body], _Body]:
    """The options that choose entries; `names` are those of the reason's."""
    options = [
        click.option(*names, "reason", type=click.Choice(_REASONS), help="Only these."),
        when("--since"),
        when("--until", note="Last seen before then."),
        click.option("--workspace", metavar="NAME", help="Whose."),
        click.option(
            "--link", "code", metavar="CODE", help="Only what names it, by code or id."
        ),
    ]

    def add(body: _Body) -> _Body:
        for option in reversed(options):
            body = option(body)
        return body

    return add


numbers = click.argument("ids", metavar="[ID]...", type=click.IntRange(1), nargs=-1)
everything = click.option("--all", "everything", is_flag=True, help="All open ones.")
dry = click.option("--dry-run", is_flag=True, help="Only tell how many.")
