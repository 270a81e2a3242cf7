import subprocess
import sys

from scripts.cli import COMMANDS
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


def test_an_unknown_command_is_a_usage_error() -> None:
    result = Cli().run("lnks")

    assert 2 == result.code
    assert "No such command" in result.err


def test_without_servers_the_error_says_what_to_set_or_run(tmp_path) -> None:
    result = Cli({"REFTIDE_DATA": str(tmp_path / "none")}).run("status")

    assert 3 == result.code
    assert "" == result.out
    assert "reftide up" in result.err
    assert "REDIS_URL" in result.err
