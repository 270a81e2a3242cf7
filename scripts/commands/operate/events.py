"""`reftide events`: recorded events, listed or as they come."""

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final, TypeVar
from uuid import UUID

import click

from ingest.contracts.envelope import Kind
from scripts.environment import Environment
from scripts.output import (
    cell,
    csv_option,
    csv_rows,
    in_one_format,
    json_line,
    json_option,
    table,
)
from scripts.parameters import when
from scripts.servers import postgres
from scripts.services.find import events

_Row = Mapping[str, Any]
_Body = TypeVar("_Body", bound=Callable[..., Any])

_COLUMNS: Final = (
    "at", "kind", "link", "partner", "customer", "name", "notes", "country", "device",
    "workspace", "id",
)  # fmt: skip
#: Flags of an event in words.
_NOTES: Final = ("test", "bot", "duplicate", "unverified")
#: What is asked for at once while events are followed.
_AT_ONCE: Final = 500


@click.group(
    epilog="""\b
  reftide events list --customer user_123
  reftide events list --link SUMMER --kind lead --since 7d --csv
  reftide events tail --workspace acme
"""
)
def command() -> None:
    """Events that are recorded. Others are found by `reftide event`."""


def _filters(body: _Body) -> _Body:
    """What both commands choose by, and how they print."""
    kinds = click.Choice([kind.value for kind in Kind])
    options = [
        click.option("--workspace", metavar="NAME", help="Whose."),
        click.option("--link", metavar="CODE", help="By code or public id."),
        click.option("--domain", metavar="DOMAIN", help="The domain of that code."),
        click.option("--partner", metavar="CODE", help="Of that partner."),
        click.option("--kind", type=kinds, help="Only these."),
        click.option(
            "--customer", metavar="ID", help="By external id, id or e-mail address."
        ),
        csv_option,
        json_option,
    ]
    for option in reversed(options):
        body = option(body)
    return body


@command.command("list")
@_filters
@when("--since")
@when("--until", note="Before that moment.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=50)
@click.option(
    "--after", type=click.UUID, metavar="ID", help="Go on after the last event listed."
)
@click.pass_obj
def list_(environment: Environment, /, **asked: Any) -> None:
    """List events by event time, latest first. With --json, one document a line."""
    show = _printer(asked)
    now = datetime.fromtimestamp(environment.clock(), UTC)
    found = asyncio.run(_page(environment, asked, now))
    show(found)
    if len(found) == asked["limit"] and not (asked["as_json"] or asked["as_csv"]):
        click.echo(f"For more, add: --after {found[-1]['id']}")


async def _page(
    environment: Environment, asked: Mapping[str, Any], now: datetime
) -> list[dict[str, Any]]:
    after: UUID | None = asked["after"]
    async with postgres(environment.lagging()) as connection:
        choice = await events.choose(connection, asked)
        return await events.page(connection, choice, asked["limit"], now, after)


@command.command()
@_filters
@click.option(
    "--interval",
    type=click.FloatRange(0.1, 60),
    default=1.0,
    help="Seconds between two looks.",
)
@click.pass_obj
def tail(environment: Environment, /, *, interval: float, **asked: Any) -> None:
    """Print events as they are recorded, until Ctrl-C. With --json, one document a line."""

    async def pause() -> bool:
        await asyncio.sleep(interval)
        # Ctrl-C cancels the task; while it connects, that may get lost.
        task = asyncio.current_task()
        return task is None or not task.cancelling()

    in_one_format(as_json=asked["as_json"], as_csv=asked["as_csv"])
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(tailed(environment, asked, pause))


async def tailed(
    environment: Environment, asked: Mapping[str, Any], pause: events.Pause
) -> None:
    """Print events as they are recorded, as long as `pause` says so."""
    show = _line_printer(asked)
    async with postgres(environment.lagging()) as connection:
        choice = await events.choose(
            connection, {"since": None, "until": None, **asked}
        )
        async for event in events.follow(connection, choice, _AT_ONCE, pause):
            show(event)


def _printer(asked: Mapping[str, Any]) -> Callable[[Sequence[_Row]], None]:
    as_json, as_csv = asked["as_json"], asked["as_csv"]
    in_one_format(as_json=as_json, as_csv=as_csv)
    if as_csv:
        return partial(csv_rows, columns=events.FIELDS)
    if as_json:
        return _json_lines
    return lambda found: table(map(_for_people, found), _COLUMNS)


def _json_lines(found: Sequence[_Row]) -> None:
    for event in found:
        json_line(event)


def _line_printer(asked: Mapping[str, Any]) -> Callable[[_Row], None]:
    if asked["as_json"]:
        return json_line
    if asked["as_csv"]:
        csv_rows([], events.FIELDS)
        return lambda event: csv_rows([event], events.FIELDS, head=False)
    return lambda event: click.echo(_line(_for_people(event)))


def _line(event: _Row) -> str:
    return "  ".join(cell(event[name]) or "-" for name in _COLUMNS)


def _for_people(event: _Row) -> dict[str, Any]:
    return {**event, "notes": [note for note in _NOTES if event[f"is_{note}"]]}
