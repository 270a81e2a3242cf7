"""The image, built from the Dockerfile by buildah and driven with README's request.

Install `buildah` and `mmdebstrap`, then run `scripts/test -m image`. The base image is made from Debian
packages, so no registry is asked; `REFTIDE_TEST_IMAGE_BASE` names another one.
`REFTIDE_TEST_IMAGE_OPTIONS` are more options of `buildah build`, such as `--volume`s for a package
index of your own. Containers share the network of the machine.
"""

import os
import re
import shlex
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from shutil import which
from tempfile import TemporaryDirectory
from typing import Any

import orjson
import pytest

from scripts.bench.environment.processes import free_port
from tests.deploy.manifests import ROOT
from tests.e2e.conftest import eventually
from tests.support.pooler.postgres_pair import a_postgres
from tests.support.servers.cli import SECRET
from tests.support.servers.valkey import Valkey

pytestmark = [
    pytest.mark.image,
    pytest.mark.timeout(900),
    pytest.mark.skipif(which("buildah") is None, reason="buildah is not installed"),
]

_GIVEN = os.environ  # noqa: TID251 -- who runs this tier says what it builds on
_PACKAGES = "python3,python3-venv,python3-pip,python-is-python3,ca-certificates"
#: Where the machine gets its own packages from.
_SOURCES = ("/etc/apt/sources.list.d/debian.sources", "/etc/apt/sources.list")
#: Debian keeps pip out of its own Python, which the first stage of the image throws away.
_PIP_MAY = 'rm "$1"/usr/lib/python3*/EXTERNALLY-MANAGED'


@dataclass(frozen=True)
class Buildah:
    """Images and containers in a directory of their own."""

    folder: Path

    def command(self, *words: str) -> list[str]:
        places = [
            "--root",
            str(self.folder / "root"),
            "--runroot",
            str(self.folder / "run"),
        ]
        return ["buildah", *places, "--storage-driver", "vfs", *words]

    def run(self, *words: str) -> str:
        done = subprocess.run(
            self.command(*words), capture_output=True, check=False, cwd=ROOT, text=True
        )
        assert 0 == done.returncode, done.stdout[-3000:] + done.stderr[-3000:]
        return done.stdout.strip()


@dataclass(frozen=True)
class Container:
    """One of the image, and what it is given."""

    buildah: Buildah
    name: str
    variables: Mapping[str, str]

    @property
    def _run(self) -> list[str]:
        given = [f"--env={name}={value}" for name, value in self.variables.items()]
        return ["run", "--isolation", "chroot", *given, self.name, "--"]

    def run(self, *words: str) -> str:
        """What a command in it prints."""
        return self.buildah.run(*self._run, *words)

    @contextmanager
    def running(self, *words: str) -> Iterator["subprocess.Popen[bytes]"]:
        """A process in it for a block, at whose end it is killed."""
        process = subprocess.Popen(
            self.buildah.command(*self._run, *words),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            yield process
        finally:
            process.terminate()
            process.wait(60)


def _base(buildah: Buildah) -> str:
    """An image with Debian's Python."""
    archive = buildah.folder / "base.tar"
    [source, *_] = [each for each in map(Path, _SOURCES) if each.exists()]
    made = subprocess.run(
        [which("mmdebstrap") or "", "--variant=minbase", f"--include={_PACKAGES}",
         f"--customize-hook={_PIP_MAY}", "bookworm", str(archive), str(source)],
        capture_output=True, check=False, text=True,
    )  # fmt: skip
    assert 0 == made.returncode, made.stderr[-3000:]
    container = buildah.run("from", "scratch")
    buildah.run("add", container, str(archive), "/")
    buildah.run("commit", "--rm", container, "localhost/base")
    return "localhost/base"


@pytest.fixture(scope="module")
def buildah() -> Iterator[Buildah]:
    """With the image."""
    with TemporaryDirectory(prefix="reftide-image-") as name:
        found = Buildah(Path(name))
        base = _GIVEN.get("REFTIDE_TEST_IMAGE_BASE") or _base(found)
        options = shlex.split(_GIVEN.get("REFTIDE_TEST_IMAGE_OPTIONS", ""))
        found.run(
            "build", "--isolation", "chroot", "--build-arg", f"PYTHON_IMAGE={base}",
            *options, "--tag", "localhost/reftide", ".",
        )  # fmt: skip
        yield found
        found.run("rm", "--all")
        found.run("rmi", "--all", "--force")


@pytest.fixture
def variables() -> Iterator[dict[str, str]]:
    """Servers on loopback that anybody on the machine may use."""
    port = free_port()
    with TemporaryDirectory(prefix="vk") as valkey, a_postgres() as postgres:
        redis = Valkey(Path(valkey), "always", port)
        redis.start()
        yield {
            "REDIS_URL": f"redis://127.0.0.1:{port}/0",
            "DATABASE_URL": postgres.url(),
            "REFTIDE_SECRET": SECRET,
            "REFTIDE_HOST": "127.0.0.1",
        }
        redis.kill()


def _curl() -> str:
    """README's request."""
    readme = (ROOT / "README.md").read_text("utf-8")
    found = re.search(
        r"^curl http://127\.0\.0\.1:8080/.*?\n(?=#)", readme, re.MULTILINE | re.DOTALL
    )
    assert found is not None
    return found[0]


def test_it_is_a_user_s_that_may_do_little_and_has_what_it_needs_alone(
    buildah: Buildah,
) -> None:
    name = buildah.run("from", "localhost/reftide")
    config: dict[str, Any] = orjson.loads(buildah.run("inspect", name))["OCIv1"][
        "config"
    ]
    container = Container(buildah, name, {})

    assert ["reftide", "edge"] == config["Cmd"]
    assert ("reftide", "/var/lib/reftide") == (config["User"], config["WorkingDir"])
    assert {"8080/tcp": {}} == config["ExposedPorts"]
    assert "10001" == container.run("id", "-u")
    # Its data, and nothing of ours beside it.
    container.run("sh", "-c", "touch /var/lib/reftide/x /var/lib/reftide/archive/x")
    container.run("sh", "-c", "! touch /opt/reftide/x")
    container.run("sh", "-c", "! python -c 'import pytest'")
    container.run("python", "-c", "import obstore, opentelemetry.sdk, uvloop")
    assert "sha256" not in container.run("sh", "-c", "ls / /opt")


def test_edge_and_worker_record_what_readme_sends(
    buildah: Buildah, variables: dict[str, str]
) -> None:
    port, admin = free_port(), free_port()
    edge, worker, commands = (
        Container(buildah, buildah.run("from", "localhost/reftide"), given)
        for given in (
            {**variables, "REFTIDE_PORT": str(port)},
            {**variables, "REFTIDE_ADMIN_PORT": str(admin)},
            variables,
        )
    )
    for command in ("schema", "seed"):
        commands.run("reftide", command)

    def is_ready() -> bool:
        asked = ["curl", "--fail", "--silent", f"http://127.0.0.1:{port}/readyz"]
        return not subprocess.run(asked, capture_output=True, check=False).returncode

    with ExitStack() as stack:
        stack.enter_context(edge.running("reftide", "edge"))
        stack.enter_context(worker.running("reftide", "worker"))
        eventually(is_ready)
        _, *words = shlex.split(_curl().replace("\\\n", " ").replace("8080", str(port)))
        asked = [which("curl") or "", "--silent", *words]
        answer = orjson.loads(subprocess.check_output(asked))
        assert "PARTNER123" == answer["partner_code"]

        def is_recorded() -> bool:
            found = commands.run("reftide", "links", "show", "PARTNER123", "--json")
            return orjson.loads(found)["clicks"] == 1

        eventually(is_recorded, 90)
        commands.run("reftide", "verify")
        shown = commands.run("reftide", "event", answer["click_id"], "--json")
        assert "PARTNER123" in shown
        # As compose.yaml asks them.
        for asked in (f"{port}/readyz", f"{admin}/livez"):
            commands.run(
                "python", "-c",
                f"from urllib.request import urlopen; urlopen('http://127.0.0.1:{asked}', timeout=3)",
            )  # fmt: skip
