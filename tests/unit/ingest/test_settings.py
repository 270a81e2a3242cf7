import subprocess
import sys
from ipaddress import ip_network
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from ingest.app import Externals, build
from ingest.contracts.traces.export import SpanExport
from ingest.contracts.variables import SettingsError, Tracing
from ingest.settings import EdgeSettings, Spooling

NEEDED = {"REDIS_URL": "redis://localhost", "REFTIDE_SECRET": "sixteen letters!"}


def test_little_must_be_set() -> None:
    settings = EdgeSettings.load(NEEDED)

    assert "redis://localhost" == settings.redis_url
    assert (b"sixteen letters!",) == settings.secrets
    assert Path(".reftide") == settings.data
    assert (0, 1, 2, 3) == settings.layout.numbers
    assert ("127.0.0.1", 8080) == (settings.host, settings.port)
    assert () == settings.trusted_proxies
    assert ("truncated", "info") == (settings.store_ip, settings.log_level)
    assert ("encrypted", "anonymous") == (settings.store_email, settings.gpc)
    kept = Spooling(
        most_bytes=1 << 30,
        drain_rate=2000,
        intake="auto",
        memory=80,
        unread=10_000_000,
        age=86_400,
    )
    assert kept == settings.spooling


def test_every_server_of_streams_has_a_shard() -> None:
    urls = "redis://a,redis://b,redis://c"
    given = {**NEEDED, "STREAMS_URL": urls, "REFTIDE_SHARDS": "2"}
    with pytest.raises(SettingsError, match="REFTIDE_SHARDS is 2, which is fewer"):
        EdgeSettings.load(given)
    settings = EdgeSettings.load({**NEEDED, "STREAMS_URL": urls})
    assert 12 == len(settings.layout.numbers)
    assert () == settings.shards_at_home


def test_everything_can_be_set() -> None:
    settings = EdgeSettings.load(
        {
            **NEEDED,
            "REFTIDE_SECRET_PREVIOUS": "the one of before, and the one before it",
            "REFTIDE_DATA": "/var/lib/reftide",
            "REFTIDE_SHARDS": "16",
            "REFTIDE_HOST": "0.0.0.0",  # noqa: S104 -- not bound here
            "REFTIDE_PORT": "80",
            "REFTIDE_TRUSTED_PROXIES": "10.0.0.0/8, ::1",
            "REFTIDE_STORE_IP": "FULL",
            "REFTIDE_LOG_LEVEL": "debug",
            "REFTIDE_SPOOL_BYTES": "0",
            "REFTIDE_DRAIN_RATE": "1",
            "REFTIDE_INTAKE": "spool",
            "REFTIDE_SPOOL_AT_MEMORY": "90",
            "REFTIDE_SPOOL_AT_UNREAD": "5",
            "REFTIDE_SPOOL_AT_AGE": "6",
        }
    )

    earlier = (b"the one of before", b"and the one before it")
    assert (b"sixteen letters!", *earlier) == settings.secrets
    assert Path("/var/lib/reftide") == settings.data
    assert (16, 80) == (len(settings.layout.numbers), settings.port)
    trusted = (ip_network("10.0.0.0/8"), ip_network("::1"))
    assert trusted == settings.trusted_proxies
    assert ("full", "debug") == (settings.store_ip, settings.log_level)
    kept = Spooling(
        most_bytes=0, drain_rate=1, intake="spool", memory=90, unread=5, age=6
    )
    assert kept == settings.spooling


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("REDIS_URL", ""),
        ("REDIS_URL", "localhost:6379"),
        ("REFTIDE_SECRET", ""),
        ("REFTIDE_SECRET", "too short"),
        ("REFTIDE_SECRET_PREVIOUS", "too short"),
        ("REFTIDE_SECRET_PREVIOUS", "sixteen letters!"),
        ("REFTIDE_SHARDS", "0"),
        ("REFTIDE_SHARDS", "many"),
        ("REFTIDE_SHARDS", "٤"),
        ("REFTIDE_SPOOL_BYTES", "1G"),
        ("REFTIDE_DRAIN_RATE", "0"),
        ("REFTIDE_INTAKE", "stream"),
        ("REFTIDE_SPOOL_AT_MEMORY", "101"),
        ("REFTIDE_PORT", "65536"),
        ("REFTIDE_PORT", "-1"),
        ("REFTIDE_TRUSTED_PROXIES", "10.0.0.1/8"),
        ("REFTIDE_STORE_IP", "some"),
        ("REFTIDE_STORE_EMAIL", "hash"),
        ("REFTIDE_GPC", "sell"),
        ("REFTIDE_WELL_KNOWN", "/nowhere/to/be/found"),
        ("REFTIDE_LOG_LEVEL", "loud"),
        ("REFTIDE_TRACES_PER_SECOND", "1001"),
        ("REFTIDE_TRACE_ONE_IN", "-1"),
        ("REFTIDE_TRACE_ONE_IN", "100"),  # of none
    ],
)
def test_a_wrong_setting_is_named(name: str, text: str) -> None:
    with pytest.raises(SettingsError, match=name):
        EdgeSettings.load({**NEEDED, name: text})


TRACES = {"REFTIDE_TRACES_PER_SECOND": "10"}


def test_without_traces_nothing_of_them_is_loaded() -> None:
    assert EdgeSettings.load(NEEDED).tracing is None
    code = "import ingest.app, workers.main, sys; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert "ingest.app" in loaded.stdout
    assert "opentelemetry" not in loaded.stdout


def test_traces_are_those_that_callers_ask_for_and_some_others() -> None:
    assert Tracing(10) == EdgeSettings.load({**NEEDED, **TRACES}).tracing
    drawn = EdgeSettings.load({**NEEDED, **TRACES, "REFTIDE_TRACE_ONE_IN": "100"})
    assert Tracing(10, 100) == drawn.tracing


def test_without_the_library_nothing_is_traced_and_that_is_said_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in [name for name in sys.modules if name.startswith("opentelemetry.exp")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter", None)

    with capture_logs() as logs:
        build(EdgeSettings.load({**NEEDED, **TRACES}), Externals())

    [line] = [each for each in logs if each["event"].startswith("trace.")]
    assert "trace.unavailable" == line["event"]
    assert "install reftide[otel]" in line["advice"]


def test_a_variable_that_the_sdk_does_not_take_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "0")

    with pytest.raises(SettingsError, match=r"OTEL_ is wrong: .*must be positive"):
        SpanExport("reftide-edge")


def test_secrets_are_not_shown() -> None:
    assert "sixteen" not in repr(EdgeSettings.load(NEEDED))
