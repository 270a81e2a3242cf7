"""Makes `.venv` out of the hashed locks where it is missing or stale.

Run by the shell scripts beside it, under any Python new enough and before anything is
installed: it may import the standard library only.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
VENV: Final = ROOT / ".venv"
PYTHON: Final = VENV / "bin" / "python"
#: Written last: an environment whose making was interrupted has none.
STAMP: Final = VENV / "reftide.stamp"
BUILD_LOCK: Final = ROOT / "requirements-build.txt"
#: `dev` holds all of `run`, at the same versions.
LOCKS: Final = {
    "run": ROOT / "requirements.txt",
    "dev": ROOT / "requirements-dev.txt",
}
#: What would make a machine's pip install elsewhere. The rest of its settings, above
#: all where packages come from, holds.
PIP_ELSEWHERE: Final = ("PIP_PREFIX", "PIP_ROOT", "PIP_TARGET")
PIP_SETTINGS: Final = {
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    "PIP_NO_INPUT": "1",
    "PIP_USER": "0",
}


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

    Growing from `run` to `dev` and installing the project again leave the rest in
    place, so servers that run from it live on.
    """
    wanted = {name: digest(name) for name in ("run", kind, "project")}
    found = read_stamp()
    if wanted.items() <= found.items():
        return

    STAMP.unlink(missing_ok=True)
    if found.get("run") == wanted["run"] and found.get(kind) in (None, wanted[kind]):
        say("bringing .venv up to date")
    else:
        say("making .venv from the locks; the first time can take a minute")
        create(lock)
        found = {}
    if kind not in found:
        # What builds comes first and is used as it is: nothing without a hash gets in.
        pip(lock, "--require-hashes", "-r", str(BUILD_LOCK))
        pip(lock, "--require-hashes", "-r", str(LOCKS[kind]))
    pip(lock, "--no-deps", "-e", str(ROOT))
    write_stamp(found | wanted)


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


def pip(lock: int, *arguments: str) -> None:
    command = (str(PYTHON), "-I", "-m", "pip", "install", "-qq")
    run(lock, *command, "--no-build-isolation", *arguments)


def run(lock: int, *command: str) -> None:
    """Run it with the lock held by the child too, should this process be killed."""
    inherited = os.environ  # noqa: TID251 -- an entry point
    kept = {key: val for key, val in inherited.items() if key not in PIP_ELSEWHERE}
    env = kept | PIP_SETTINGS
    subprocess.run(command, check=True, env=env, pass_fds=(lock,))  # noqa: S603


def say(what: str) -> None:
    print(f"reftide: {what}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
