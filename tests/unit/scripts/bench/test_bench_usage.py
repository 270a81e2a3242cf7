import os
import subprocess
import sys
import time

import pytest

from scripts.bench.environment import processes, usage
from scripts.bench.options import hurried
from scripts.errors import Unreachable

ALLOCATE = "import sys; kept = bytearray(50_000_000); sys.stdin.readline()"


def test_a_tree_has_the_children_of_its_roots() -> None:
    command = [sys.executable, "-c", "input()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as child:
        found = usage.tree([os.getpid()])
        child.communicate(b"\n")

    assert os.getpid() == found[0]
    assert child.pid in found


def test_time_on_a_processor_is_counted_and_waiting_is_not() -> None:
    before = usage.cpu_seconds([os.getpid()])
    until = time.process_time() + 0.2
    while time.process_time() < until:
        pass

    assert usage.cpu_seconds([os.getpid()]) - before == pytest.approx(0.2, abs=0.1)


def test_memory_is_what_a_process_has_taken() -> None:
    command = [sys.executable, "-c", ALLOCATE]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as child:
        deadline = time.monotonic() + 20
        while usage.memory([child.pid]) < 50_000_000:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        child.communicate(b"\n")

    assert usage.memory([child.pid]) == 0  # it is gone


def test_a_baseline_that_is_not_installed_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(processes, "find_spec", lambda name: name != "uvicorn" or None)

    with pytest.raises(Unreachable) as caught:
        processes.require_fastapi()

    assert 3 == caught.value.exit_code
    assert "needs uvicorn," in caught.value.what
    assert "scripts/_venv.py dev" in caught.value.remedy


def test_in_a_hurry_there_is_one_short_pair() -> None:
    asked = {"pairs": 5, "seconds": 30.0, "events": 60_000, "edges": 2}

    assert {"pairs": 1, "seconds": 2.0, "events": 2000, "edges": 2} == hurried(asked)


def test_in_a_hurry_nothing_becomes_more_than_was_asked() -> None:
    asked = {"seconds": 0.5, "events": 10, "rows": (7, 100, 99_999)}

    assert {"seconds": 0.5, "events": 10, "rows": (7, 100, 15_000)} == hurried(asked)
