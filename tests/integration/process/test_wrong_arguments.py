"""Each required argument wrong once: what is wrong and what to do is said."""

from collections.abc import Iterator

import click
import pytest

from scripts.cli import reftide
from tests.support.servers.cli import Cli, servers_of
from tests.unit.scripts.test_usage import needing

#: What others have to be so that one is looked at.
RIGHT = {
    "links alias add": {"new_code": "OTHER", "link": "PARTNER123"},
    "import": {"what": "links", "file": "links.csv"},
    "limits set": {"subject": "bio_re.address", "per_minute": "60"},
    "milestones add": {"name": "first", "program": "1", "converts": "5"},
}
#: Where almost any text will do: one that will not.
WRONG = {
    ("workspaces add", "name"): " ",
    ("programs add", "name"): " ",
    ("partners add", "new_code"): " ",
    ("milestones add", "name"): " ",
    ("links alias add", "new_code"): "white space",
}
#: Any text will do.
FREE = {("monitoring tests", "file"), ("quarantine discard", "why")}


def required() -> Iterator[tuple[str, click.Command, click.Parameter]]:
    for path in needing(reftide):
        command: click.Command = reftide
        for name in path:
            assert isinstance(command, click.Group)
            found = command.get_command(click.Context(command), name)
            assert found
            command = found
        for each in command.params:
            if each.required:
                yield " ".join(path), command, each


def arguments(path: str, command: click.Command, wrong: str, text: str) -> list[str]:
    """The words of a call that is right but for one parameter."""
    given = RIGHT.get(path, {}) | {wrong: text}
    words = path.split()
    for each in command.params:
        if each.required:
            name = str(each.name)
            words += [each.opts[0]] if isinstance(each, click.Option) else []
            words.append(given[name])
    return words


@pytest.fixture
def cli(redis_url: str, database_url: str) -> Cli:
    made = servers_of(redis_url, database_url)
    made.document("seed")
    return made


@pytest.mark.parametrize("junk", ["no such thing", "\udcff"], ids=ascii)
def test_a_wrong_argument_is_said_with_its_remedy(cli: Cli, junk: str) -> None:
    ends = {}
    for path, command, parameter in required():
        name = str(parameter.name)
        text = WRONG.get((path, name), junk)
        if (path, name) not in FREE:
            done = cli.run(*arguments(path, command, name, text))
            helps = "What to do: " in done.err or "--help" in done.err + done.out
            ends[path, name] = (done.code, helps)

    # What no id names is an answer of `event`, not a wrong use of it.
    wrong = {
        at: how
        for at, how in ends.items()
        if how != (1 if at[0] == "event" and junk.isascii() else 2, True)
    }
    assert {} == wrong
    assert len(ends) > 40


@pytest.mark.parametrize("number", ["0", "9" * 30, "x"])
def test_what_is_no_entry_of_quarantine_is_said(cli: Cli, number: str) -> None:
    said = cli.refusal("quarantine", "show", number)

    assert f"'{number}' is no entry's number: see `reftide quarantine list`" in said
