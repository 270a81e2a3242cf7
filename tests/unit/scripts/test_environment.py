import pytest

from scripts.environment import Environment
from scripts.errors import Unreachable, UsageProblem


def _environment(**variables: str) -> Environment:
    return Environment(variables, lambda: 0.0)


def test_the_variables_name_the_servers() -> None:
    environment = _environment(REDIS_URL="redis://a", DATABASE_URL="postgresql://b")

    assert "redis://a" == environment.redis_url()
    assert "postgresql://b" == environment.database_url()


def test_own_servers_are_not_mixed_with_embedded_ones() -> None:
    with pytest.raises(Unreachable, match="DATABASE_URL is not set"):
        _environment(REDIS_URL="redis://a").database_url()
    with pytest.raises(Unreachable, match="REDIS_URL is not set"):
        _environment(DATABASE_URL="postgresql://b").redis_url()


def test_an_instance_that_does_not_run_is_named(tmp_path) -> None:
    with pytest.raises(Unreachable, match=f"{tmp_path}") as refused:
        _environment(REFTIDE_DATA=str(tmp_path)).redis_url()

    # `up` alone has --data.
    assert "set REFTIDE_DATA to its data directory" in refused.value.remedy
    assert "--data" not in str(refused.value)


def test_the_current_secret_comes_before_the_previous_ones() -> None:
    environment = _environment(
        REFTIDE_SECRET="current secret of ours",
        REFTIDE_SECRET_PREVIOUS="older, oldest ,current secret of ours",
    )

    assert (b"current secret of ours", b"older", b"oldest") == environment.secrets()


@pytest.mark.parametrize("secret", ["", "too short"])
def test_a_secret_that_is_missing_or_short_is_refused(secret: str) -> None:
    environment = _environment(REDIS_URL="redis://a", REFTIDE_SECRET=secret)

    with pytest.raises(Unreachable, match="set REFTIDE_SECRET"):
        environment.secrets()


def test_shards_are_four_unless_a_number_says_otherwise() -> None:
    assert 4 == len(_environment().layout().numbers)
    assert 9 == len(_environment(REFTIDE_SHARDS="9").layout().numbers)
    for wrong in ("0", "many", "-1"):
        with pytest.raises(UsageProblem, match="REFTIDE_SHARDS"):
            _environment(REFTIDE_SHARDS=wrong).layout()


def test_processes_on_own_servers_get_the_variables_as_they_are() -> None:
    variables = {"REDIS_URL": "redis://a", "DATABASE_URL": "postgresql://b", "X": "1"}

    assert variables == _environment(**variables).for_processes()


def test_an_edge_gets_no_address_of_a_database() -> None:
    variables = {"REDIS_URL": "redis://a", "DATABASE_URL": "postgresql://b", "X": "1"}

    assert {"REDIS_URL": "redis://a", "X": "1"} == _environment(**variables).for_edge()


def test_an_error_names_the_variable_and_never_the_url() -> None:
    environment = _environment(REDIS_URL="redis://:password@a")

    assert "the server of REDIS_URL" == environment.source("REDIS_URL")


def test_edges_beside_own_servers_are_where_the_variables_say() -> None:
    own = {"REDIS_URL": "redis://a", "DATABASE_URL": "postgresql://b"}

    assert "http://127.0.0.1:8080" == _environment(**own).edge_url()
    assert "http://edge:90" == (
        _environment(**own, REFTIDE_HOST="edge", REFTIDE_PORT="90").edge_url()
    )


def test_a_short_secret_is_not_called_unknown() -> None:
    with pytest.raises(Unreachable, match="REFTIDE_SECRET is too short"):
        _environment(REDIS_URL="redis://a", REFTIDE_SECRET="too short").secrets()
