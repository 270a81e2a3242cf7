"""The progress of a replay on a terminal."""

import sys
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Final

#: Over how many seconds the rate is taken.
_WINDOW: Final = 5.0


def quiet(replay: Mapping[str, Any], lag: float) -> None:
    """Show nothing: standard output is one document."""


class View:
    """A bar with what is done, the rate, the time left and the recorder's lag.

    Where standard error is no terminal, nothing is drawn. `clock` is monotonic, in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        # Imported here because rich is not needed for JSON.
        from rich.console import Console  # noqa: PLC0415
        from rich.progress import BarColumn, Progress, TextColumn  # noqa: PLC0415

        self._clock = clock
        self._seen: list[tuple[float, int]] = []
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            TextColumn("{task.completed:,.0f} of about {task.total:,.0f}"),
            TextColumn("{task.fields[figures]}"),
            console=Console(file=sys.stderr),
            disable=not sys.stderr.isatty(),
            expand=True,
        )
        self._task = self._bar.add_task("replay", total=1, figures="")

    def __enter__(self) -> Callable[[Mapping[str, Any], float], None]:
        self._bar.start()
        return self.show

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def show(self, replay: Mapping[str, Any], lag: float) -> None:
        """Draw how a replay stands, with the recorder's lag in seconds."""
        self._bar.update(
            self._task,
            completed=replay["read"],
            total=max(1, replay["expected"]),
            figures=self.figures(replay, lag),
        )

    def figures(self, replay: Mapping[str, Any], lag: float) -> str:
        """The rate, the time left, the lag; or why nothing moves."""
        lagging = f"live lag {lag:,.1f} s"
        if replay["status"] != "running":
            return f"{replay['status']} | {lagging}"
        now = self._clock()
        self._seen = [one for one in self._seen if now - one[0] <= _WINDOW]
        self._seen.append((now, replay["read"]))
        since, read = self._seen[0]
        rate = (replay["read"] - read) / (now - since) if now > since else 0.0
        if not rate:
            return f"waiting | {lagging}"
        left = max(0, replay["expected"] - replay["read"]) / rate
        return f"{rate:,.0f}/s | {left:,.0f} s left | {lagging}"
