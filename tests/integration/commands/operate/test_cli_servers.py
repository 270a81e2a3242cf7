"""What commands say of servers that do not answer."""

import pytest

from tests.support.servers.cli import Cli


@pytest.mark.parametrize(
    ("name", "url"),
    [
        ("DATABASE_URL", "postgresql://reftide@127.0.0.1:1/reftide"),
        ("DATABASE_URL", "postgresql://[half"),
        ("REDIS_URL", "redis://127.0.0.1:1/0"),
        ("REDIS_URL", "http://127.0.0.1/"),
    ],
)
def test_a_server_that_does_not_answer_is_exit_code_three(
    cli: Cli, name: str, url: str
) -> None:
    result = Cli({**cli.variables, name: url}).run("verify", "--json")

    assert (3, "") == (result.code, result.out)
    assert name in result.err


def test_a_password_is_never_printed(cli: Cli) -> None:
    url = "postgresql://reftide:hunter2@127.0.0.1:1/reftide"

    result = Cli({**cli.variables, "DATABASE_URL": url}).run("programs", "list")

    assert 3 == result.code
    assert "hunter2" not in result.err
