"""What the commands of `reftide bench` have in common: options, and how a result is shown."""

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

import click
from typing_extensions import override

from scripts.bench.environment.contenders import cores
from scripts.bench.environment.runs import Result
from scripts.bench.environment.servers import Asked, prepared
from scripts.environment import Environment
from scripts.output import emit, facts, json_option, table

_MOST_NUMBER: Final = 1_000_000_000
#: What `--quick` makes of them: enough to see that it measures.
_QUICK_SECONDS: Final = 1.0
_QUICK_EVENTS: Final = 2000
#: Reftide's processes on a machine whose cores the servers and the load use too.
_PROCESSES: Final = {"edges": max(1, cores() // 2), "workers": max(1, cores() // 4)}

_COLUMNS: Final = ("name", "unit", "figure", "baseline", "ratio", "spread", "runs")
#: Not for people: too long, or shown already.
_HIDDEN: Final = {*_COLUMNS, "pairs", "conditions", "path"}
_AS_USUAL: Final = Asked()

_Command = TypeVar("_Command", bound=Callable[..., Any])
_Decorator = Callable[[_Command], _Command]


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
    name: str, kind: click.ParamType[Any], default: object, said: str
) -> _Decorator[Any]:
    """An option whose default is shown."""
    return click.option(name, type=kind, default=default, show_default=True, help=said)


def count(
    name: str, default: int, said: str, *, least: int = 1, most: int = 10_000_000
) -> _Decorator[Any]:
    """An option that is a whole number."""
    return option(f"--{name}", click.IntRange(least, most), default, said)


def amount(
    name: str, default: float, said: str, *, least: float = 0.1, most: float = 100_000
) -> _Decorator[Any]:
    """An option that may be a fraction."""
    return option(f"--{name}", click.FloatRange(least, most), default, said)


def pairs(default: int) -> _Decorator[Any]:
    return click.option(
        "--pairs",
        "--runs",
        "pairs",
        type=click.IntRange(1, 100),
        default=default,
        show_default=True,
        help="Pairs of runs: Reftide, then the baseline.",
    )


def seconds(
    default: float, said: str = "How long the load of a run lasts."
) -> _Decorator[Any]:
    return amount("seconds", default, said, most=600)


def events(default: int) -> _Decorator[Any]:
    return count("events", default, "Clicks that a run records.", most=2_000_000)


def processes(command: _Command) -> _Command:
    for name, default in _PROCESSES.items():
        add = count(name, default, f"Processes of Reftide: {name}.", most=64)
        command = add(command)
    return command


def measurement(command: Callable[..., None]) -> Callable[..., None]:
    """`--quick` and `--json`, and the environment as the first argument."""
    quick = click.option(
        "--quick", is_flag=True, help="One pair of short runs: a smoke test, no figure."
    )
    return quick(json_option(click.pass_obj(command)))


def run(
    environment: Environment,
    measure: Callable[..., Result],
    asked: Mapping[str, Any],
    servers: Asked = _AS_USUAL,
) -> None:
    """Measure on servers of its own with the options of a command, and show the result."""
    options = {**asked}
    as_json = options.pop("as_json")
    with prepared(environment, servers) as prepared_servers:
        result = measure(prepared_servers, **hurried(options), tell=tell)
    show(result, as_json=as_json)


def hurried(asked: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a command, smaller where it was called with --quick."""
    made = dict(asked)
    if made.pop("quick"):
        made["pairs"] = 1
        for name, most in (("seconds", _QUICK_SECONDS), ("events", _QUICK_EVENTS)):
            if name in made:
                made[name] = min(made[name], most)
    return made


def tell(sentence: str) -> None:
    click.echo(sentence, err=True)


def show(result: Result, *, as_json: bool) -> None:
    document = result.document()
    emit(as_json, document, lambda: _for_people(document))


def _for_people(document: Mapping[str, Any]) -> None:
    table([document], _COLUMNS)
    for name, value in document.items():
        title = name.replace("_", " ").capitalize()
        if name in _HIDDEN:
            continue
        if isinstance(value, Mapping):
            rows = [{"what": key, "": each} for key, each in value.items()]
            table(rows, ("what", ""), title)
        else:
            table(value, list(value[0]), title)
    facts(document["conditions"], "Conditions")
