from pathlib import Path

import pytest

from ingest.contracts.variables import SettingsError
from workers.settings import Archiving, CrashAt, Settings

NEEDED = {"REDIS_URL": "redis://localhost", "DATABASE_URL": "postgresql://localhost/r"}


def test_little_must_be_set() -> None:
    settings = Settings.load(NEEDED)

    assert "redis://localhost" == settings.redis_url == settings.arq_redis_url
    assert "postgresql://localhost/r" == settings.database_url
    assert Path(".reftide") == settings.data
    assert (4, 500) == (len(settings.shards), settings.batch_size)
    assert 50 == settings.gather_ms
    assert 24 == settings.keep_hours
    assert (None, None) == (settings.worker_name, settings.geo_file)
    assert settings.crash_at is None
    assert settings.archive is None
    assert ("truncated", "info") == (settings.store_ip, settings.log_level)
    assert "encrypted" == settings.store_email


def test_everything_can_be_set() -> None:
    settings = Settings.load(
        {
            **NEEDED,
            "ARQ_REDIS_URL": "unix:///run/valkey.sock?db=1",
            "REFTIDE_DATA": "/var/lib/reftide",
            "REFTIDE_SHARDS": "16",
            "REFTIDE_BATCH_SIZE": "50",
            "REFTIDE_GATHER_MS": "0",
            "REFTIDE_STREAM_KEEP_HOURS": "0",
            "REFTIDE_WORKER_NAME": "berlin-2.a_b",
            "REFTIDE_GEO_FILE": "/usr/share/city.mmdb",
            "REFTIDE_STORE_IP": "full",
            "REFTIDE_CRASH_AT": "committed:3",
            "REFTIDE_LOG_LEVEL": "DEBUG",
            "REFTIDE_ARCHIVE": "/srv/archive",
            "REFTIDE_ARCHIVE_SECONDS": "60",
            "REFTIDE_ARCHIVE_KEEP_DAYS": "400",
            "REFTIDE_ARCHIVE_STORE": "s3://bucket/a/b?region=here",
        }
    )

    assert "unix:///run/valkey.sock?db=1" == settings.arq_redis_url
    assert Path("/var/lib/reftide") == settings.data
    assert (16, 50) == (len(settings.shards), settings.batch_size)
    assert 0 == settings.gather_ms
    assert 0 == settings.keep_hours
    assert "berlin-2.a_b" == settings.worker_name
    assert Path("/usr/share/city.mmdb") == settings.geo_file
    assert CrashAt("committed", 3) == settings.crash_at
    store = "s3://bucket/a/b?region=here"
    assert Archiving(Path("/srv/archive"), 60, 400, store) == settings.archive
    assert ("full", "debug") == (settings.store_ip, settings.log_level)


def test_an_archive_that_is_off_is_none() -> None:
    assert Settings.load({**NEEDED, "REFTIDE_ARCHIVE": "OFF"}).archive is None


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("REDIS_URL", ""),
        ("REDIS_URL", "localhost:6379"),
        ("ARQ_REDIS_URL", "localhost:6379"),
        ("DATABASE_URL", ""),
        ("DATABASE_URL", "sqlite:///here"),
        ("REFTIDE_ARCHIVE_SECONDS", "0"),
        ("REFTIDE_ARCHIVE_KEEP_DAYS", "-1"),
        ("REFTIDE_ARCHIVE_STORE", "gs://bucket"),
        ("REFTIDE_ARCHIVE_STORE", "s3://"),
        ("REFTIDE_ARCHIVE_STORE", "s3://key:secret@bucket"),
        ("REFTIDE_ARCHIVE_STORE", "s3://bucket?secret=x"),
        ("REFTIDE_ARCHIVE_STORE", "file://host/directory"),
        ("REFTIDE_ARCHIVE_STORE", "file:///"),
        ("REFTIDE_SHARDS", "0"),
        ("REFTIDE_SHARDS", "four"),
        ("REFTIDE_BATCH_SIZE", "5001"),
        ("REFTIDE_GATHER_MS", "1001"),
        ("REFTIDE_STREAM_KEEP_HOURS", "-1"),
        ("REFTIDE_WORKER_NAME", "../elsewhere"),
        ("REFTIDE_WORKER_NAME", ".hidden"),
        ("REFTIDE_WORKER_NAME", "w" * 101),
        ("REFTIDE_STORE_IP", "some"),
        ("REFTIDE_STORE_EMAIL", "hash"),
        ("REFTIDE_CRASH_AT", "never"),
        ("REFTIDE_CRASH_AT", "read:often"),
        ("REFTIDE_LOG_LEVEL", "loud"),
    ],
)
def test_what_is_wrong_is_named_with_its_variable(name: str, text: str) -> None:
    with pytest.raises(SettingsError, match=f"^{name} "):
        Settings.load({**NEEDED, name: text})


def test_settings_do_not_show_passwords() -> None:
    urls = {"REDIS_URL": "redis://:s3cret@h", "DATABASE_URL": "postgresql://u:s3cret@h"}

    assert "s3cret" not in repr(Settings.load(urls))
