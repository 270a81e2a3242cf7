"""What the commands of `reftide bench` have in common: options, and how a result is shown."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import click
from typing_extensions import override

from scripts.bench.environment.runs import Result
from scripts.bench.load.load import CONNECTIONS
from scripts.errors import UsageProblem
from scripts.output import emit, facts, table

_MOST_NUMBER: Final = 1_000_000_000


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

_Command = TypeVar("_Command", bound=Callable[..., Any])
_Measured = TypeVar("_Measured")

#: What `--quick` makes of them: enough to see that it measures.
_QUICK_SECONDS: Final = 1.0
_QUICK_EVENTS: Final = 2000

_COLUMNS: Final = ("name", "unit", "figure", "baseline", "ratio", "spread", "runs")
#: Not for people: too long, or shown already.
_HIDDEN: Final = {*_COLUMNS, "pairs", "conditions"}


def pairs_option(pairs: int) -> Callable[[_Command], _Command]:
    return click.option(
        "--pairs",
        "--runs",
        "pairs",
        type=click.IntRange(1, 100),
        default=pairs,
        show_default=True,
        help="Pairs of runs: Reftide, then the baseline.",
    )


def seconds_option(seconds: float, what: str) -> Callable[[_Command], _Command]:
    return click.option(
        "--seconds",
        type=click.FloatRange(0.1, 600),
        default=seconds,
        show_default=True,
        help=what,
    )


def events_option(events: int, most: int) -> Callable[[_Command], _Command]:
    return click.option(
        "--events",
        type=click.IntRange(1, most),
        default=events,
        show_default=True,
        help="Clicks that a run records.",
    )


connections_option = click.option(
    "--connections",
    type=click.IntRange(2, 10_000),
    default=CONNECTIONS,
    show_default=True,
    help="Connections of the load, a request on each; of batches so many fewer, 8 at least.",
)


def processes_options(edges: int, workers: int) -> Callable[[_Command], _Command]:
    def add(command: _Command) -> _Command:
        for name, count in (("workers", workers), ("edges", edges)):
            command = click.option(
                f"--{name}",
                type=click.IntRange(1, 64),
                default=count,
                show_default=True,
                help=f"Processes of Reftide: {name}.",
            )(command)
        return command

    return add


quick_option = click.option(
    "--quick", is_flag=True, help="One pair of short runs: a smoke test, no figure."
)

svg_option = click.option(
    "--svg",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    metavar="FILE",
    help="Measure a curve too, and draw it.",
)


def hurried(asked: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a command, smaller where it was called with --quick."""
    made = dict(asked)
    if made.pop("quick"):
        made["pairs"] = 1
        for name, most in (("seconds", _QUICK_SECONDS), ("events", _QUICK_EVENTS)):
            if name in made:
                made[name] = min(made[name], most)
    return made


def upto(count: int) -> tuple[int, ...]:
    """Numbers of processes for a curve: powers of two, and the count itself."""
    powers = (1 << number for number in range(count.bit_length()))
    return tuple(sorted({count, *(power for power in powers if power < count)}))


def tell(sentence: str) -> None:
    click.echo(sentence, err=True)


def draw(
    file: Path | None, picture: Callable[[_Measured], str], result: _Measured
) -> None:
    """Write the picture of a result where one was asked for. Raises UsageProblem."""
    if file is None:
        return
    try:
        file.write_text(picture(result), "utf-8")
    except OSError as error:
        raise UsageProblem(
            f"{file} cannot be written: {error.strerror}", "name another file."
        ) from error
    tell(f"drawn: {file}")


def show(result: Result, *, as_json: bool) -> None:
    document = result.document()
    emit(as_json, document, lambda: _for_people(document))


def _for_people(document: Mapping[str, Any]) -> None:
    table([document], _COLUMNS)
    for name, value in document.items():
        if name not in _HIDDEN:
            _show_more(name, value)
    facts(document["conditions"], "Conditions")


def _show_more(
    name: str, value: Mapping[str, Any] | Sequence[Mapping[str, Any]]
) -> None:
    title = name.replace("_", " ").capitalize()
    if isinstance(value, Mapping):
        table(
            [{"what": key, "": each} for key, each in value.items()],
            ("what", ""),
            title,
        )
    else:
        table(value, list(value[0]), title)
