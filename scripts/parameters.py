"""Types of options, and options that several commands have."""

import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TypeVar

import click
from typing_extensions import override

from scripts.environment import Environment
from scripts.times import moment

_Body = TypeVar("_Body", bound=Callable[..., Any])


class Parsed(click.ParamType[object]):
    """What `parse` makes of a text; the words of its ValueError are the refusal's."""

    def __init__(
        self, parse: Callable[[str], object], name: str, *, may_be_piped: bool = False
    ) -> None:
        self.name = name
        self._parse = parse
        self._may_be_piped = may_be_piped

    @override
    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> object:
        if not isinstance(value, str):
            return value  # the default
        if self._may_be_piped and value == "-":
            value = sys.stdin.read().rstrip("\r\n")
        try:
            return self._parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class Moment(click.ParamType[datetime]):
    """`90m`, `2h`, `3d` ago, `now`, or a date; a date without a zone is UTC."""

    name = "when"

    @override
    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime:
        environment: Environment = click.get_current_context().obj
        now = datetime.fromtimestamp(environment.clock(), UTC)
        try:
            return moment(str(value), now)
        except ValueError as error:
            self.fail(str(error), param, ctx)


def when(
    *names: str, note: str = "90m, 2h, 3d, or a date.", **more: Any
) -> Callable[[_Body], _Body]:
    """An option that takes a moment."""
    return click.option(*names, type=Moment(), metavar="WHEN", help=note, **more)


def until(name: str = "--to") -> Callable[[_Body], _Body]:
    """The end of a span; now, if it is not given."""
    return when(name, "until", note="Up to that moment.", default="now")


dry_run = click.option("--dry-run", is_flag=True, help="Only tell what it would do.")
