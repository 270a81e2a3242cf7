"""How Python's memory is looked after while batches go through."""

import gc
from typing import Final

#: Objects made and not freed again before the collector looks for circles among them. What
#: a batch makes is freed as soon as it is done, without the collector.
_YOUNG: Final = 50_000


def collect_seldom() -> None:
    """Let the garbage collector alone with what a process has once it has started.

    By default it looks after every 700 objects, several times in a batch, each time in vain:
    that took a sixth of a worker's time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG, 20, 20)
