"""Sampled stacks: what a process was at, how often, and that as a picture. Pure.

Used by `profile`. The picture is a flame graph that hangs down: a function is as wide as its
share of the time, and what it called is below it.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any, Final

#: What runs an event loop: all that is below it is a turn of the loop.
_LOOP: Final = "Runner.run (asyncio/runners.py)"
_LINE: Final = re.compile(r":\d+\)$")
_FRAME: Final = re.compile(r"(?P<function>.*) \((?P<file>.*)\)")
#: How the files of this project begin, as the sampler shortens their paths.
_OURS: Final = ("ingest/", "workers/")

_WIDTH: Final = 1200
_TOP: Final = 54
_ROW: Final = 18
_MARGIN: Final = 10
_LETTER: Final = 6.3
#: What is narrower is left out, in points.
_NARROWEST: Final = 1.2
_STYLE: Final = (
    "text{font:11px monospace;fill:#222}.title{font:bold 16px sans-serif}"
    ".said{font:13px sans-serif}rect{stroke:#fff;stroke-width:.5}"
    ".ours{fill:#f6b26b}.theirs{fill:#a4c2f4}"
)


@dataclass(slots=True)
class Frame:
    """A function where it was called from: samples of it and below it."""

    name: str
    samples: int = 0
    calls: dict[str, "Frame"] = field(default_factory=dict)

    def depth(self, least: float) -> int:
        """How many functions lie below one another, of those with so many samples."""
        wide = [
            call.depth(least) for call in self.calls.values() if call.samples >= least
        ]
        return 1 + max(wide, default=0)

    def add(self, stack: Sequence[str], samples: int) -> None:
        """Add samples of a stack that begins below this frame."""
        frame = self
        frame.samples += samples
        for name in stack:
            frame = frame.calls.setdefault(name, Frame(name))
            frame.samples += samples


def loop_of(lines: Iterable[str]) -> Frame:
    """What an event loop was at, of stacks as py-spy writes them, one a line.

    Other threads are left out, and so is what starts and ends the loop.
    """
    loop = Frame("event loop")
    for line in lines:
        stack, _, samples = line.rpartition(" ")
        names = [_LINE.sub(")", frame) for frame in stack.split(";")]
        if _LOOP in names:
            loop.add(names[names.index(_LOOP) + 1 :], int(samples))
    return loop


def functions(loop: Frame, most: int) -> list[dict[str, Any]]:
    """So many functions that took longest themselves, with shares of the loop's time in %."""
    own, whole = Counter[str](), Counter[str]()
    for frame, above in _walk(loop, frozenset()):
        own[frame.name] += frame.samples - sum(
            call.samples for call in frame.calls.values()
        )
        if frame.name not in above:  # of a recursion the outermost has all of it
            whole[frame.name] += frame.samples
    return [
        {
            **_parted(name),
            "self": round(100 * samples / loop.samples, 1),
            "total": round(100 * whole[name] / loop.samples, 1),
        }
        for name, samples in own.most_common(most)
    ]


def drawn(loop: Frame, title: str, said: str) -> str:
    """The stacks as an SVG document; pointing at a function names it and its share."""
    scale = (_WIDTH - 2 * _MARGIN) / max(1, loop.samples)
    height = _TOP + _ROW * loop.depth(_NARROWEST / scale) + _MARGIN
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}"'
        f' role="img" aria-label="{escape(title)}">'
    )
    return "\n".join(
        [
            head,
            f"<style>{_STYLE}</style>",
            f'<rect width="{_WIDTH}" height="{height}" fill="#fff"/>',
            f'<text class="title" x="{_MARGIN}" y="22">{escape(title)}</text>',
            f'<text class="said" x="{_MARGIN}" y="42">{escape(said)}</text>',
            *_boxes(loop, loop.samples, _MARGIN, 0, scale),
            "</svg>\n",
        ]
    )


def _boxes(
    frame: Frame, all_samples: int, left: float, row: int, scale: float
) -> Iterator[str]:
    width = frame.samples * scale
    if width < _NARROWEST:
        return
    top = _TOP + row * _ROW
    share = 100 * frame.samples / max(1, all_samples)
    room = int((width - 4) / _LETTER)
    label = _parted(frame.name)["function"].rpartition(">.")[2]
    kind = "ours" if _is_ours(frame.name) else "theirs"
    yield (
        f'<g><title>{escape(frame.name)}: {share:.1f} %</title><rect class="{kind}"'
        f' x="{left:.1f}" y="{top}" width="{width:.1f}" height="{_ROW - 1}"/>'
    )
    if room > len("a.b"):
        text = escape(label if len(label) <= room else f"{label[: room - 1]}…")
        yield f'<text x="{left + 3:.1f}" y="{top + 12}">{text}</text>'
    yield "</g>"
    for call in sorted(frame.calls.values(), key=lambda call: -call.samples):
        yield from _boxes(call, all_samples, left, row + 1, scale)
        left += call.samples * scale


def _walk(
    frame: Frame, above: frozenset[str]
) -> Iterator[tuple[Frame, frozenset[str]]]:
    yield frame, above
    for call in frame.calls.values():
        yield from _walk(call, above | {frame.name})


def _parted(name: str) -> Mapping[str, str]:
    found = _FRAME.fullmatch(name)
    return found.groupdict() if found else {"function": name, "file": ""}


def _is_ours(name: str) -> bool:
    return _parted(name)["file"].startswith(_OURS)
