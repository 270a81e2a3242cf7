"""How a noun is declared: its actions, what each takes, runs and shows.

A declaration knows no option and prints nothing. The command line is built from it, and a
control API can be: a field is an option there and a key of a request here.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, TypeVar

from scripts.errors import UsageProblem
from scripts.services import parsers

Row = dict[str, Any]
_LONGEST: Final = 4000
_Run = TypeVar("_Run", bound=Callable[..., Awaitable[Any]])


@dataclass(frozen=True, slots=True)
class NounField:
    """A value that actions take. One that is not given is None, or its default.

    A switch is written as a word that turns it on; one without a default has another word
    that turns it off. `parse` makes the value of a text; its ValueError says what is wrong.
    """

    help: str = ""
    parse: Callable[[str], object] = str
    metavar: str | None = None
    default: Any = None
    choices: tuple[str, ...] = ()
    is_switch: bool = False
    option: str = ""  # where it is not the name, with dashes
    is_argument: bool = False
    is_required: bool = False
    may_be_piped: bool = False  # `-` reads it from standard input


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under the named columns; `empty` is what is said where there are none.

    A document has the rows under `key`, if there is one.
    """

    columns: str
    title: str = ""
    empty: str = ""
    key: str = ""


@dataclass(frozen=True, slots=True)
class NounFacts:
    """One row as names and values, then the rows that it holds under some names.

    `title` is filled in from the row. `note` makes a last line of what was given;
    `shown` makes what people see of the row.
    """

    title: str
    inner: Mapping[str, Table] = field(default_factory=dict)
    note: Callable[[Mapping[str, Any]], str] | None = None
    shown: Callable[[Row], Row] = dict


#: The last is a sentence: filled in from the row, or made of it.
Shows = Table | NounFacts | str | Callable[[Row], str]


@dataclass(frozen=True, slots=True)
class Action:
    """A verb: what `run` does inside one transaction, and how people see the outcome.

    `run` takes a connection and every field by name; `secrets`, the installation's, if it
    `is_sealing`; and `redis`, a client, if it `asks_redis`. It gives back a row, or a list
    of rows, and raises UsageProblem. At least one of `changes` must be given, where there
    are any.
    """

    verb: str
    run: Callable[..., Awaitable[Any]]
    fields: Mapping[str, NounField]
    changes: tuple[str, ...]
    shows: Shows
    is_sealing: bool = False
    asks_redis: bool = False
    hidden_alias: str = ""

    @property
    def help(self) -> str:
        return self.run.__doc__ or ""


class Noun:
    """A group of actions on one kind of thing, and what their fields mean for it."""

    def __init__(
        self, name: str, about: str, examples: str, /, **fields: NounField
    ) -> None:
        self.name = name
        self.help = about
        self.examples = examples
        self.actions: list[Action] = []
        #: Groups of actions inside this one: `reftide links alias add`.
        self.inner: list[Noun] = []
        self._fields = {**_SHARED, **fields}

    def action(self, usage: str, shows: Shows, **more: Any) -> Callable[[_Run], _Run]:
        """Declare a function as the action of its name; its docstring is the help.

        `usage` names the fields: `CODE` is an argument, `--url` an option, `--scopes!`
        one that must be given. Of the options behind a bar at least one must be.
        """
        _, _, changes = usage.partition("|")
        words = [word for word in usage.split() if word != "|"]

        def declare(run: _Run) -> _Run:
            self.actions.append(
                Action(
                    run.__name__.rstrip("_"),
                    run,
                    {_key(word): self._field(word) for word in words},
                    tuple(map(_key, changes.split())),
                    shows,
                    **more,
                )
            )
            return run

        return declare

    def values(self, verb: str, texts: Mapping[str, str]) -> dict[str, Any]:
        """Every field of an action, by name: its text parsed, or its default.

        Raises UsageProblem.
        """
        [action] = [each for each in self.actions if each.verb == verb]
        return {
            name: _parsed(name, field, texts[name]) if name in texts else field.default
            for name, field in action.fields.items()
        }

    def _field(self, word: str) -> NounField:
        found = self._fields[_key(word)]
        is_argument = word.isupper()
        return replace(
            found,
            is_argument=is_argument,
            is_required=word.endswith("!") or (is_argument and found.default is None),
        )


def _parsed(name: str, field: NounField, text: str) -> Any:
    said = name.replace("_", " ").capitalize()
    if len(text) > _LONGEST:
        raise UsageProblem(f"{said} is too long.", f"write {_LONGEST} characters.")
    if field.is_switch:
        return text == "on"
    if field.choices and text not in field.choices:
        raise UsageProblem(
            f"{said} is {text!r}.", f"choose one of {', '.join(field.choices)}."
        )
    try:
        return field.parse(text)
    except ValueError as error:
        raise UsageProblem(f"{said}: {error}.", "correct it in the form.") from error


def _key(word: str) -> str:
    return word.strip("-!").replace("-", "_").lower()


#: What a field means unless a noun says otherwise.
_SHARED: Final = {
    "after": NounField("Go on behind this one: its id.", parsers.uuid, "ID"),
    "code": NounField(),
    "domain": NounField("The domain that the code is on.", parsers.domain),
    "limit": NounField("At most so many.", parsers.whole(1, 10_000), "N", default=100),
    "name": NounField("What people call it."),
    "new_code": NounField("A new code.", parsers.code, "CODE", option="code"),
    "partner": NounField("A partner's code.", metavar="CODE"),
    "program": NounField("A program's number.", parsers.program_number, "N"),
    "public_id": NounField(
        "What answers show; made up by default.", parsers.code, "ID"
    ),
    "subject": NounField(),
    "url": NounField("Where it leads.", parsers.url),
    "workspace": NounField(
        "Whose; needed only where there are several.", metavar="NAME"
    ),
}
