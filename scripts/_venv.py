"""Makes `.venv` out of the hashed locks where it is missing or stale, and says how far it is.

Run by the shell scripts beside it, under any Python new enough and before anything is
installed: it may import the standard library only.
"""

import fcntl
import hashlib
import os
import re
import select
import shlex
import shutil
import subprocess
import sys
import time
import tomllib
from collections import deque
from pathlib import Path
from typing import IO, Final

ROOT: Final = Path(__file__).resolve().parent.parent
VENV: Final = ROOT / ".venv"
PYTHON: Final = VENV / "bin" / "python"
#: Written last: an environment whose making was interrupted has none.
STAMP: Final = VENV / "reftide.stamp"
BUILD_LOCK: Final = ROOT / "requirements-build.txt"
#: `dev` holds all of `run`, at the same versions.
LOCKS: Final = {"run": ROOT / "requirements.txt", "dev": ROOT / "requirements-dev.txt"}
#: What would make a machine's pip install elsewhere. The rest of its settings, above
#: all where packages come from, holds.
PIP_ELSEWHERE: Final = ("PIP_PREFIX", "PIP_ROOT", "PIP_TARGET")
PIP_SETTINGS: Final = {
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    "PIP_NO_INPUT": "1",
    "PIP_USER": "0",
}
#: What each environment is for.
PURPOSES: Final = {
    "run": "to run servers, edges and workers",
    "dev": "to test and check",
}
PINNED: Final = re.compile(r"^[\w.-]+==", re.MULTILINE)
#: A package that pip turns to: one of a registry, or a file that it finds here.
TAKEN: Final = re.compile(
    r"(?:Collecting|Processing) (?:\S*/)?(\w[\w.-]*?)(?:==|-)(\d\S*)"
)
#: How often people hear of it: on a terminal, and where lines pile up.
SECONDS: Final = (0.2, 5.0)
#: Of what pip said before it failed, so many lines are shown.
LAST_LINES: Final = 20


def main() -> int:
    with (ROOT / ".venv.lock").open("a") as lock:
        try:
            hold(lock.fileno())
            make(sys.argv[1], lock.fileno())
        except subprocess.CalledProcessError:
            say("could not make .venv; what went wrong stands above")
            return 1
        except KeyboardInterrupt:
            return 130
    return 0


def hold(lock: int) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        say("waiting for another script that is making .venv")
        fcntl.flock(lock, fcntl.LOCK_EX)


def make(kind: str, lock: int) -> None:
    """Bring `.venv` to `kind`; start over only where a lock or Python itself changed.

    Growing from `run` to `dev` and linking the project again leave the rest in place, so
    servers that run from it live on.
    """
    wanted, found = {name: digest(name) for name in (*LOCKS, "project")}, read_stamp()
    have = {name for name in wanted if found.get(name) == wanted[name]}
    if "dev" in have:
        have.add("run")
    if {kind, "project"} <= have:
        return

    began = time.monotonic()
    STAMP.unlink(missing_ok=True)
    if kind not in have:
        if kind in found or not have & LOCKS.keys():
            say(
                f"making .venv with {sys.executable}; only the first start takes this long"
            )
            create(lock)
            have.clear()
        if kind == "dev":
            # What builds comes first and is used as it is: nothing without a hash gets in.
            pip(lock, BUILD_LOCK, "to build the rest")
        pip(lock, LOCKS[kind], PURPOSES[kind])
    link(VENV)
    write_stamp({name: wanted[name] for name in have | {kind, "project"}})
    say(f".venv is ready after {time.monotonic() - began:.0f} s")


def digest(name: str) -> str:
    """Everything that a part of the environment was made from, in one hash."""
    # An environment holds absolute paths, so a copied or moved one is stale.
    made_from = [sys.version, sys.base_prefix, str(ROOT), BUILD_LOCK.read_text()]
    made_from += [LOCKS.get(name, ROOT / "pyproject.toml").read_text()]
    return hashlib.sha256("\0".join(made_from).encode()).hexdigest()


def read_stamp() -> dict[str, str]:
    if not (STAMP.exists() and os.access(PYTHON, os.X_OK)):
        return {}
    return dict(line.split(" ", 1) for line in STAMP.read_text().splitlines())


def write_stamp(stamps: dict[str, str]) -> None:
    lines = "".join(f"{name} {stamp}\n" for name, stamp in stamps.items())
    whole = STAMP.with_suffix(".new")
    whole.write_text(lines)
    whole.replace(STAMP)


def create(lock: int) -> None:
    if VENV.is_symlink() or VENV.is_file():
        VENV.unlink()
    elif VENV.exists():
        shutil.rmtree(VENV)
    # Of an activated environment, the Python beneath: it may stand in .venv itself.
    python = getattr(sys, "_base_executable", sys.executable)
    run(lock, python, "-I", "-m", "venv", str(VENV))


def link(venv: Path) -> None:
    """Make the project importable and `reftide` callable, as an editable install does.

    By hand: for pip to do it, eight packages that build would have to be installed.
    """
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    site = site_packages(venv)
    for old in site.glob("*reftide*.pth"):
        old.unlink()
    for old in site.glob("reftide-*.dist-info"):
        shutil.rmtree(old)
    info = site / f"reftide-{project['version']}.dist-info"
    info.mkdir()
    name = f"Name: reftide\nVersion: {project['version']}\n"
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\n{name}")
    (info / "INSTALLER").write_text("reftide\n")
    (info / "RECORD").write_text(f"{info.name}/METADATA,,\n{info.name}/INSTALLER,,\n")
    (site / "reftide.pth").write_text(f"{ROOT}\n")
    module, function = project["scripts"]["reftide"].split(":")
    command, python = venv / "bin" / "reftide", venv / "bin" / "python"
    # A path may hold spaces, and be longer than the kernel takes behind #!: so sh runs it.
    command.write_text(
        f"#!/bin/sh\n'''exec' {shlex.quote(str(python))} \"$0\" \"$@\"\n' '''\n"
        f"import sys\nfrom {module} import {function}\nsys.exit({function}())\n"
    )
    command.chmod(0o755)


def site_packages(venv: Path) -> Path:
    return next(venv.glob("lib/python*/site-packages"))


def pip(lock: int, pins: Path, purpose: str) -> None:
    """Install what a lock pins, which is everything: dependencies are not looked up."""
    total = len(PINNED.findall(pins.read_text()))
    say(f"installing {total} packages of {pins.name}, {purpose}")
    command = [str(PYTHON), "-I", "-m", "pip", "install", "--progress-bar", "off"]
    command += ["--no-build-isolation", "--no-deps", "--no-compile"]
    command += ["--require-hashes", "-r", str(pins)]
    with subprocess.Popen(  # noqa: S603
        command,
        env=environment(),
        pass_fds=(lock,),
        bufsize=0,  # so that nothing waits behind what `select` sees
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as process:
        last = follow(process.stdout, Progress(total)) if process.stdout else ()
    if process.returncode:
        print("".join(last), file=sys.stderr, end="")
        raise subprocess.CalledProcessError(process.returncode, command)


def follow(output: IO[bytes], progress: "Progress") -> deque[str]:
    """Say how far pip is until it ends; the last lines that it wrote."""
    last: deque[str] = deque(maxlen=LAST_LINES)
    before = len(list(site_packages(VENV).glob("*.dist-info")))
    is_terminal = sys.stderr.isatty()
    interval, heard = SECONDS[0 if is_terminal else 1], time.monotonic()
    while True:
        # pip says nothing while it unpacks: what is there by now is counted.
        is_silent = not select.select([output], [], [], interval)[0]
        if is_silent:
            progress.unpacked = (
                len(list(site_packages(VENV).glob("*.dist-info"))) - before
            )
        elif line := output.readline().decode(errors="replace"):
            last.append(line)
            progress.read(line)
        else:
            break
        if time.monotonic() - heard >= interval:
            heard = time.monotonic()
            say(progress.text(), end="" if is_terminal else "\n")
    if is_terminal:
        say("", end="")
    return last


class Progress:
    """How far pip is, by the lines that it writes and the packages that are there."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.unpacked = 0
        self._taken = 0
        self._package = ""
        self._is_unpacking = False

    def read(self, line: str) -> None:
        if taken := TAKEN.match(line):
            self._taken += 1
            self._package = f"{taken[1]} {taken[2].split('-')[0]}"
        elif line.startswith("Ignoring "):
            self.total -= 1  # it is for another platform or Python
        elif line.startswith("Installing collected packages"):
            self._is_unpacking = True

    def text(self) -> str:
        if self._is_unpacking:
            return f"  unpacked {max(0, self.unpacked)} of {self.total}"
        return f"  fetched {self._taken} of {self.total}: {self._package}"


def run(lock: int, *command: str) -> None:
    """Run it with the lock held by the child too, should this process be killed."""
    subprocess.run(command, check=True, env=environment(), pass_fds=(lock,))  # noqa: S603


def environment() -> dict[str, str]:
    inherited = os.environ  # noqa: TID251 -- an entry point
    kept = {key: val for key, val in inherited.items() if key not in PIP_ELSEWHERE}
    return kept | PIP_SETTINGS


def say(what: str, end: str = "\n") -> None:
    # On a terminal, how far it is takes one line, which the next one writes over.
    clear = "\r\x1b[K" if sys.stderr.isatty() else ""
    print(
        f"{clear}reftide: {what}" if what else clear,
        file=sys.stderr,
        end=end,
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
