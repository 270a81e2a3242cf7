"""`reftide schema`, and what commands say where there are no tables."""

from collections.abc import Callable

import pytest

from tests.conftest import Servers
from tests.support.servers.cli import Cli, servers_of


@pytest.fixture
def empty_database(servers: Servers, new_database: Callable[[], str]) -> str:
    url = new_database()
    name = url.split("?")[0].rpartition("/")[2]
    servers.execute("drop schema public cascade", name)
    servers.execute("create schema public", name)
    return url


def test_schema_makes_the_tables_and_then_nothing(
    redis_url: str, empty_database: str
) -> None:
    cli = servers_of(redis_url, empty_database)

    first = cli.document("schema")

    assert {"events", "links", "ledger"} <= set(first["tables"])
    assert {"tables": [], "columns": [], "addresses": 0} == cli.document("schema")
    assert "nothing was missing" in cli.run("schema").out


def test_schema_names_what_it_had_to_make(cli: Cli) -> None:
    cli.fetch("drop table limits")

    assert "1 table made" in cli.run("schema").out
    cli.fetch("drop table limits")
    assert {"tables": ["limits"], "columns": [], "addresses": 0} == cli.document(
        "schema"
    )


@pytest.mark.parametrize("command", [("programs", "list"), ("verify",)])
def test_a_database_without_tables_is_told_by_name(
    redis_url: str, empty_database: str, command: tuple[str, ...]
) -> None:
    result = servers_of(redis_url, empty_database).run(*command, "--json")

    assert (3, "") == (result.code, result.out)
    assert "reftide schema" in result.err


def test_status_takes_a_database_without_tables_for_one_that_is_away(
    redis_url: str, empty_database: str
) -> None:
    result = servers_of(redis_url, empty_database).run("status", "--json")

    assert 3 == result.code
    assert {"redis": True, "postgres": False} == result.document["reachable"]
    assert "run `reftide schema`." == result.document["findings"][0]["remedy"]


def test_schema_stores_the_addresses_of_a_former_release_anew(cli: Cli) -> None:
    cli.fetch(
        "insert into customers (id, workspace_id, seen_at, email)"
        " values (gen_random_uuid(), gen_random_uuid(), now(), 'ann@x.example')"
    )

    assert "1 e-mail address stored anew" in cli.run("schema").out
    assert 0 == cli.document("schema")["addresses"]
    kept = (
        "select count(*) from customers where email is null and email_hash is not null"
    )
    assert [1] == [row[0] for row in cli.fetch(kept)]
