"""`python probe.py REPORT`: an edge that notes what a click costs it, in any version.

It runs `python -m ingest` with a few methods replaced: those that a parsed click enters
by, and those that take its bytes for the stream. The first clicks warm it up; the next ones
are traced, so they want to come one at a time; of all others the processor time between the
two is noted. It writes its report, a line of JSON, when it is told to end.
"""

import runpy
import sys
from collections import Counter
from collections.abc import Callable, Coroutine, Generator
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from statistics import median
from time import thread_time_ns
from types import CodeType, FrameType
from typing import Any, Final

import orjson
from typing_extensions import override

#: Module, class and method in each layout. A version with another way in or out gets a
#: line here.
ENTRANCES: Final = (
    ("ingest.http.fast_path", "PlainRoute", "answer"),
    ("ingest.http.fast_path", "PlainRoute", "_accept"),
    ("ingest.plain", "PlainRoute", "answer"),
)
SINKS: Final = (
    ("ingest.durable.sink", "DurableSink", "offer"),
    ("ingest.durable.sink", "DurableSink", "append"),
    ("ingest.sink", "Sink", "append"),
)
_WARM: Final = 200
_TRACED: Final = 100
#: Clicks after this one are timed.
TRACED_UNTIL: Final = _WARM + _TRACED
#: What this many of the traced clicks call is on every click's way.
_ENOUGH: Final = 90

_Method = Callable[..., Any]


@dataclass(slots=True)
class _Click:
    """One click: its nanoseconds so far, and whether its bytes are handed over."""

    spent: int = 0
    is_over: bool = False


@dataclass(slots=True)
class Probe:
    """What is noted of clicks. `root` is the folder whose functions are counted."""

    root: str
    entered: int = 0
    times: list[int] = field(default_factory=list)
    calls: Counter[CodeType] = field(default_factory=Counter)
    _click: _Click | None = None
    _since: int = 0

    def entrance(self, method: _Method) -> _Method:
        """A method by which a click begins, or goes on; a plain one, or a coroutine's."""

        def enter(*arguments: Any, **named: Any) -> Any:
            click = self._click
            if click is None:
                self._count()
                click = _Click()
            answer = self.step(click, lambda: method(*arguments, **named))
            if isinstance(answer, Coroutine):
                return _Timed(self, click, answer)
            return answer

        return enter

    def sink(self, method: _Method) -> _Method:
        """The method that takes the bytes."""

        def take(*arguments: Any, **named: Any) -> Any:
            self._hand_over()
            return method(*arguments, **named)

        return take

    def step(self, click: _Click, act: Callable[[], Any]) -> Any:
        """A part of a click's way, as far as it goes without waiting."""
        if click.is_over or self._click is click:
            return act()
        self._click, self._since = click, thread_time_ns()
        try:
            return act()
        finally:
            self._pause()

    def report(self) -> dict[str, object]:
        """Microseconds of a click's core, and the functions of ours that each click calls."""
        passed = [
            code
            for code, times in self.calls.items()
            if times >= _ENOUGH and code.co_filename.startswith(self.root)
        ]
        named = [code for code in passed if not code.co_name.endswith("comp>")]
        return {
            "core_us": median(self.times) / 1000 if self.times else 0.0,
            "clicks": len(self.times),
            "functions": len(named),
            "modules": len({code.co_filename for code in named}),
            "path": sorted(
                f"{code.co_filename.removeprefix(self.root)}:{code.co_qualname}"
                for code in named
            ),
        }

    def _count(self) -> None:
        self.entered += 1
        if self.entered == _WARM:
            sys.setprofile(self._note)
        elif self.entered == TRACED_UNTIL:
            sys.setprofile(None)

    def _note(self, frame: FrameType, event: str, _: object) -> None:
        if event == "call":
            self.calls[frame.f_code] += 1

    def _pause(self) -> None:
        if self._click is not None:
            self._click.spent += thread_time_ns() - self._since
            self._click = None

    def _hand_over(self) -> None:
        click = self._click
        self._pause()
        if click is not None:
            click.is_over = True
            if self.entered > TRACED_UNTIL:
                self.times.append(click.spent)


class _Timed(Coroutine[Any, Any, Any]):
    """A coroutine of which each step between two waits is timed."""

    def __init__(
        self, probe: Probe, click: _Click, coroutine: Coroutine[Any, Any, Any]
    ) -> None:
        self._probe = probe
        self._click = click
        self._coroutine = coroutine

    @override
    def send(self, value: Any) -> Any:
        return self._probe.step(self._click, lambda: self._coroutine.send(value))

    @override
    def throw(self, *error: Any) -> Any:
        return self._coroutine.throw(*error)

    @override
    def close(self) -> None:
        self._coroutine.close()

    @override
    def __await__(self) -> Generator[Any, Any, Any]:
        try:
            while True:
                yield self.send(None)
        except StopIteration as end:
            return end.value
        finally:
            self.close()


def _replace(
    places: tuple[tuple[str, str, str], ...], made: Callable[[_Method], _Method]
) -> None:
    replaced = 0
    for module, name, method in places:
        try:
            owner = getattr(import_module(module), name)
            original = getattr(owner, method)
        except (ImportError, AttributeError):
            continue
        setattr(owner, method, made(original))
        replaced += 1
    if not replaced:
        sys.exit(f"this version has none of {places}: say where a click passes")


def main() -> None:
    probe = Probe(f"{Path.cwd()}/ingest/")
    _replace(ENTRANCES, probe.entrance)
    _replace(SINKS, probe.sink)
    try:
        runpy.run_module("ingest", run_name="__main__")
    finally:
        Path(sys.argv[1]).write_bytes(orjson.dumps(probe.report()))


if __name__ == "__main__":
    main()
