"""`reftide bench profile`: where an edge or a worker spends its time.

One process of either kind, on servers of their own, under all the load that the edge takes.
py-spy samples the process from outside (its manual: a stack is read while the process stands
still for a moment), so the process itself is none other than in production.
"""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Literal

from scripts.bench.environment.contenders import cores, reftide
from scripts.bench.environment.runs import Tell
from scripts.bench.environment.servers import BenchServers
from scripts.bench.load.end_to_end import Send, empty, warm
from scripts.bench.load.load import choose
from scripts.bench.pipeline import clicks
from scripts.bench.stacks import Frame, functions, loop_of
from scripts.errors import Unreachable

Kind = Literal["edge", "worker"]

_SAMPLER: Final = "py-spy"
_RATE: Final = 500  # a second
#: The load begins before the first sample and ends after the last.
_MORE_SECONDS: Final = 1.0
_FUNCTIONS: Final = 30
_TAIL: Final = 500


def require() -> str:
    """The program that samples; raises Unreachable where there is none."""
    beside = Path(sys.executable).with_name(_SAMPLER)
    found = str(beside) if beside.exists() else shutil.which(_SAMPLER)
    if found is None:
        raise Unreachable(
            f"A profile needs {_SAMPLER}, which Reftide itself does not.",
            f"pip install {_SAMPLER}, or in a checkout `python3 scripts/_venv.py dev`.",
        )
    return found


def measure(ground: BenchServers, kind: Kind, *, seconds: int, tell: Tell) -> Frame:
    """What the event loop of a process was at in so many seconds. Raises Unreachable."""
    sampler, file = require(), ground.data / f"{kind}.stacks"
    load = choose(clicks(ground))
    empty(ground)
    with reftide(1, 1)(ground) as contender:
        warm(ground, contender, load.send)
        [pid] = contender.pids[kind]
        tell(f"sampling the {kind} for {seconds} s, load by {load.name}")
        with _beside(load.send, contender.port, seconds + 2 * _MORE_SECONDS):
            _sample(sampler, pid, seconds, file)
    loop = loop_of(file.read_text("utf-8").splitlines())
    if not loop.samples:
        raise Unreachable(f"The {kind} was idle.", "sample for longer.")
    return loop


def document(loop: Frame, kind: Kind, seconds: int) -> dict[str, Any]:
    """A profile as `--json` prints it; shares are in % of the samples."""
    return {
        "name": "profile",
        "process": kind,
        "unit": "%",
        "samples": loop.samples,
        "functions": functions(loop, _FUNCTIONS),
        "conditions": {
            "samples_a_second": _RATE,
            "seconds": seconds,
            "python": sys.version.split()[0],
            "cores": cores(),
        },
    }


@contextmanager
def _beside(send: Send, port: int, seconds: float) -> Iterator[None]:
    """Load during a `with`, which ends when the load does. Raises what sending raises."""
    with ThreadPoolExecutor(1) as pool:
        sending = pool.submit(send, port, seconds)
        wait([sending], _MORE_SECONDS)
        yield
        sending.result()


def _sample(sampler: str, pid: int, seconds: int, file: Path) -> None:
    done = subprocess.run(  # noqa: S603 -- found beside Python, or where it was installed
        [
            *(sampler, "record", "--format", "raw"),
            *("--rate", str(_RATE), "--duration", str(seconds)),
            *("--output", str(file), "--pid", str(pid)),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    if done.returncode != 0 or not file.exists():
        said = done.stdout.decode("utf-8", "replace").strip()[-_TAIL:]
        raise Unreachable(
            f"{_SAMPLER} could not look into the process: {said}",
            "let it: run as root, with the capability SYS_PTRACE in a container, or after"
            " `sysctl kernel.yama.ptrace_scope=0`.",
        )
