import socket
from dataclasses import replace
from pathlib import Path

import pytest

from ingest.contracts.variables import SettingsError
from workers.settings import Settings
from workers.stream.consumer_names import consumer_name

HOST = socket.gethostname()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    environment = {
        "REDIS_URL": "redis://localhost",
        "DATABASE_URL": "postgresql://localhost/r",
        "REFTIDE_DATA": str(tmp_path / "data"),
    }
    return Settings.load(environment)


def test_workers_of_a_machine_are_numbered(settings: Settings) -> None:
    with consumer_name(settings) as first, consumer_name(settings) as second:
        assert (f"{HOST}-1", f"{HOST}-2") == (first, second)


def test_a_name_is_free_again_when_its_worker_has_ended(settings: Settings) -> None:
    with consumer_name(settings) as first:
        pass

    with consumer_name(settings) as second:
        assert first == second


def test_a_chosen_name_is_taken_as_it_is_and_by_one_worker(settings: Settings) -> None:
    settings = replace(settings, worker_name="berlin")

    with (
        consumer_name(settings) as name,
        pytest.raises(SettingsError, match="REFTIDE_WORKER_NAME is 'berlin'"),
        consumer_name(settings),
    ):
        pass

    assert "berlin" == name


def test_a_data_directory_that_cannot_be_used_is_named(
    settings: Settings, tmp_path: Path
) -> None:
    (tmp_path / "data").write_text("a file")

    with (
        pytest.raises(SettingsError, match=r"data/worker-slots: .* in REFTIDE_DATA"),
        consumer_name(settings),
    ):
        pass
