"""A server that will not start says why and what to do."""

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from scripts.embedded import binaries, exec_child
from scripts.embedded.errors import EmbeddedError, explain, explained
from scripts.embedded.instance import Instance
from tests.support.servers.embedded import running

POSTMASTER_PID = "{pid}\n{folder}\n1700000000\n5432\n/nowhere\n\n  0 0\nready   \n"


@pytest.fixture
def data(tmp_path):
    with running(tmp_path / "data", durable=False):
        pass
    return tmp_path / "data"


@pytest.mark.parametrize("version", ["15\n", "garbage", ""])
def test_data_of_another_version_is_refused_with_a_way_out(data, version):
    (data / "postgres" / "PG_VERSION").write_text(version)

    with pytest.raises(EmbeddedError) as caught:
        running(data, durable=False).__enter__()

    assert f"its PG_VERSION says {version.strip()!r}" in caught.value.what
    assert "pg_dump" in caught.value.remedy
    assert Instance.load(data) is None


def test_a_broken_configuration_is_shown_in_postgres_own_words(data):
    with (data / "postgres" / "postgresql.conf").open("a") as file:
        file.write("shared_buffers = many\n")

    with pytest.raises(EmbeddedError, match="shared_buffers") as caught:
        running(data, durable=False).__enter__()

    assert "PostgreSQL did not start (exit code 1)" in caught.value.what


def test_a_damaged_append_only_file_is_not_started_upon(data):
    for manifest in (data / "valkey" / "appendonlydir").glob("*.manifest"):
        manifest.write_text("nonsense\n")

    with pytest.raises(EmbeddedError, match="Valkey did not start"):
        running(data, durable=False).__enter__()


@pytest.mark.parametrize(
    "content",
    ["", "12", POSTMASTER_PID.format(pid=os.getpid(), folder="/elsewhere")],
    ids=["empty", "cut short", "a living process that is something else"],
)
def test_a_stale_pid_file_does_not_keep_postgres_from_starting(data, content):
    file = data / "postgres" / "postmaster.pid"
    file.write_text(content)
    owner = file.parent.stat()
    os.chown(file, owner.st_uid, owner.st_gid)

    with running(data, durable=False) as embedded:
        assert all(server.alive() for server in embedded.servers)


def test_a_foreign_process_at_work_on_the_data_is_named(data):
    folder = data / "postgres"
    with subprocess.Popen([sys.executable, "-c", "input()"], cwd=folder, stdin=-1) as p:
        (folder / "postmaster.pid").write_text(f"{p.pid}\n")
        with pytest.raises(EmbeddedError, match=f"Process {p.pid}, a PostgreSQL"):
            running(data, durable=False).__enter__()
        p.kill()


def test_an_interrupted_first_start_is_begun_anew(tmp_path):
    (tmp_path / "data" / "postgres.new" / "base").mkdir(parents=True)

    with running(tmp_path / "data", durable=False) as embedded:
        assert all(server.alive() for server in embedded.servers)


def test_missing_wheels_are_named():
    with pytest.raises(EmbeddedError, match=r"install reftide\[embedded\]"):
        binaries.package_folder("no_such_package")


@pytest.mark.parametrize(
    ("line", "remedy"),
    [
        ("FATAL: could not write: No space left on device", "free some space"),
        ("initdb: error: could not look up effective user ID 7", "run as a user"),
        ("/home/x/postgres cannot be reached by user 65534", "CAP_DAC_READ_SEARCH"),
        ('FATAL: lock file ".s.PGSQL.5432.lock" already exists', "stop the other"),
        ('ERROR: relation "links" already exists', "read the whole log"),
        ("FATAL: something else", "read the whole log"),
    ],
)
def test_the_log_of_a_server_leads_to_a_remedy(tmp_path, line, remedy):
    log = tmp_path / "server.log"
    log.write_text(f"of an earlier start: Permission denied\n{line}\n")

    error = explain("It", "did not start", log, offset=39)

    assert (line,) == error.log
    assert remedy in error.remedy


def test_a_full_disk_is_explained():
    full = OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(EmbeddedError, match="free some space"), explained("write"):
        raise full


def test_a_file_in_the_way_is_explained(tmp_path):
    (tmp_path / "data").write_text("")

    with pytest.raises(EmbeddedError, match="name another"):
        running(tmp_path / "data").__enter__()


def test_without_a_death_signal_a_watcher_stops_the_server(tmp_path):
    """The way of macOS, which runs anywhere."""
    command = [sys.executable, "-I", "-S", exec_child.__file__, "--watch"]
    place = [f"--parent={os.getpid()}", f"--signal={int(signal.SIGTERM)}"]
    program = ["--", "/bin/sh", "-c", "echo $$; exec sleep 60"]
    with subprocess.Popen(
        [*command, *place, f"--cwd={tmp_path}", *program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as watcher:
        pid = int(watcher.stdout.readline())
        watcher.stdin.close()
        assert 128 + signal.SIGTERM == watcher.wait(5)

    deadline = time.monotonic() + 2
    while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not Path(f"/proc/{pid}").exists()
