import inspect
import subprocess
import sys

import pytest
from click.testing import CliRunner

from scripts.cli import COMMANDS, reftide
from scripts.services.table import NOUNS, noun
from tests.support.servers.cli import Cli

_HEAVY = ("asyncio", "asyncpg", "redis", "rich", "scripts.commands")


def test_help_imports_nothing_that_is_slow() -> None:
    program = (
        "import sys; from scripts.cli import reftide;"
        "reftide(['--help'], standalone_mode=False);"
        "print(*sys.modules, file=sys.stderr)"
    )

    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )

    imported = set(done.stderr.split())
    assert set() == imported.intersection(_HEAVY)
    assert "links" in done.stdout


def test_every_command_that_help_lists_exists_and_explains_itself() -> None:
    for section in COMMANDS.values():
        for name in section:
            result = Cli().run(name, "--help")

            assert 0 == result.code
            assert f"{name} [OPTIONS]" in result.out


@pytest.mark.parametrize("name", NOUNS)
def test_a_noun_is_declared_in_full(name: str) -> None:
    found = noun(name)

    assert name == found.name
    for action in found.actions:
        assert action.help
        taken = inspect.signature(action.run).parameters
        takes_any = any(one.kind is one.VAR_KEYWORD for one in taken.values())
        assert takes_any or set(action.fields) <= set(taken)


def test_an_unknown_command_is_a_usage_error() -> None:
    result = Cli().run("frobnicate")

    assert 2 == result.code
    assert "No such command" in result.err


@pytest.mark.parametrize(
    ("typed", "meant"), [(("stauts",), "status"), (("links", "lst"), "list")]
)
def test_a_mistyped_command_gets_a_suggestion(
    typed: tuple[str, ...], meant: str
) -> None:
    result = Cli().run(*typed)

    assert 2 == result.code
    assert f"'{meant}'" in result.err


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_is_given_its_completion_script(shell: str) -> None:
    result = Cli().run("completion", shell)

    assert 0 == result.code
    assert "_REFTIDE_COMPLETE" in result.out


@pytest.mark.parametrize(
    ("words", "completed"),
    [
        ("reftide sta", {"stats", "status"}),
        ("reftide links disa", {"disable"}),
        ("reftide links add X --name", {"--namespace"}),
        ("reftide switches off pro", {"program"}),
    ],
)
def test_a_shell_completes_commands_options_and_choices(
    words: str, completed: set[str]
) -> None:
    asked = {"_REFTIDE_COMPLETE": "bash_complete", "COMP_WORDS": words}
    position = {"COMP_CWORD": str(len(words.split()) - 1)}

    done = CliRunner().invoke(
        reftide, prog_name="reftide", env={**asked, **position}, standalone_mode=True
    )

    found = {line.partition(",")[2] for line in done.output.splitlines()}
    assert completed == found


def test_without_servers_the_error_says_what_to_set_or_run(tmp_path) -> None:
    result = Cli({"REFTIDE_DATA": str(tmp_path / "none")}).run("status")

    assert 3 == result.code
    assert "" == result.out
    assert "reftide up" in result.err
    assert "REDIS_URL" in result.err
