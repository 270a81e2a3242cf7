"""What the commands of `reftide bench` have in common: options, and how a result is shown."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import reduce
from typing import Any, Final

import click
from typing_extensions import override

from scripts.bench.environment.processes import cores
from scripts.bench.environment.runs import Result
from scripts.environment import Environment
from scripts.output import emit, facts, json_option, table

_MOST_NUMBER: Final = 1_000_000_000
#: What `--quick` makes of them: enough to see that it measures.
_QUICK: Final[Mapping[str, float]] = {
    "pairs": 1,
    "seconds": 2.0,
    "events": 2000,
    "requests": 2000,
}
_QUICK_SIZE: Final = 5000

_COLUMNS: Final = ("name", "unit", "figure", "baseline", "ratio", "spread", "runs")
#: Not for people: too long, or shown already.
_HIDDEN: Final = {*_COLUMNS, "pairs", "conditions", "path"}

Option = Callable[[Any], Any]


class _Numbers(click.ParamType[tuple[int, ...]]):
    """Whole numbers above zero, ascending, by commas; `_` may part their digits."""

    name = "numbers"

    @override
    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        try:
            found = tuple(int(each) for each in str(value).split(","))
        except ValueError:
            self.fail(f"{value!r}: write whole numbers with commas between them")
        if min(found) < 1 or list(found) != sorted(set(found)):
            self.fail(f"{value!r}: write them ascending, each above zero")
        if max(found) > _MOST_NUMBER:
            self.fail(f"{value!r}: at most {_MOST_NUMBER:,}")
        return found


NUMBERS: Final = _Numbers()


def option(
    name: str, kind: click.ParamType[Any], default: object, said: str, *names: str
) -> Option:
    """An option whose default is shown; `names` are others that it has."""
    return click.option(
        f"--{name}", *names, type=kind, default=default, show_default=True, help=said
    )


def number(
    name: str, default: float, said: str, least: float = 1, most: float = 10_000_000
) -> Option:
    """An option that is a whole number where its default is, else may be a fraction."""
    kind: click.ParamType[Any] = click.FloatRange(least, most)
    if isinstance(default, int):
        kind = click.IntRange(int(least), int(most))
    return option(name, kind, default, said)


def pairs(default: int) -> Option:
    said = "Pairs of runs: Reftide, then the baseline."
    return option("pairs", click.IntRange(1, 100), default, said, "--runs", "pairs")


def seconds(default: float, said: str = "How long the load of a run lasts.") -> Option:
    return number("seconds", default, said, 0.1, 600)


def events(default: int) -> Option:
    return number("events", default, "Clicks that a run records.", most=2_000_000)


#: Reftide's processes on a machine whose cores the servers and the load use too.
EDGES: Final = number("edges", max(1, cores() // 2), "Edge processes.", most=64)
WORKERS: Final = number("workers", max(1, cores() // 4), "Worker processes.", most=64)


def measurement(*options: Option, epilog: str) -> Callable[..., click.Command]:
    """Make a command of a function that measures.

    It is called with the environment and with its options, which become conditions of its
    result. The command is named after it, its help is its docstring; `--quick` and `--json`
    come with every measurement.
    """

    def command(measure: Callable[..., Result]) -> click.Command:
        @click.pass_obj
        def run(
            environment: Environment, /, *, as_json: bool, quick: bool, **asked: Any
        ) -> None:
            chosen = hurried(asked) if quick else asked
            result = measure(environment, **chosen)
            chosen.pop("pairs", None)
            conditions = {**chosen, "cores": cores(), **result.conditions}
            document = replace(result, conditions=conditions).document()
            emit(as_json, document, lambda: _show(document))

        quick = click.option(
            "--quick", is_flag=True, help="One pair of short runs: a smoke test."
        )
        decorated = reduce(
            lambda made, add: add(made), (json_option, quick, *reversed(options)), run
        )
        name = measure.__name__.replace("_", "-")
        return click.command(name, help=measure.__doc__, epilog=epilog)(decorated)

    return command


def hurried(asked: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a measurement, smaller."""
    made = {
        name: min(value, _QUICK[name]) if name in _QUICK else value
        for name, value in asked.items()
    }
    if "rows" in made:
        places = enumerate(made["rows"], 1)
        made["rows"] = tuple(min(size, _QUICK_SIZE * place) for place, size in places)
    return made


def _show(document: Mapping[str, Any]) -> None:
    table([document], _COLUMNS)
    for name, value in document.items():
        title = name.replace("_", " ").capitalize()
        if name in _HIDDEN:
            continue
        if isinstance(value, Mapping):
            facts(value, title)
        else:
            table(value, list(value[0]), title)
    facts(document["conditions"], "Conditions")
