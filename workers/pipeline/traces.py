"""Traces of what workers do with traced events.

A batch has events of many requests. So it is a trace of its own, with a link to the span that
appended each traced event; likewise a page of a replay or a redrive. A batch without traced
events has no span.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Final, Literal

from workers.model.batch import Delivery

#: How events come to be recorded.
Work = Literal["batch", "replay", "redrive"]


class Traces:
    """No traces, and the interface to them."""

    def of(
        self, work: Work, deliveries: Sequence[Delivery]
    ) -> AbstractContextManager[object]:
        """The span of some work on these events, if one of them is traced."""
        del work, deliveries
        return nullcontext()

    def writing(self) -> AbstractContextManager[object]:
        """The span of a transaction, within that of its work if there is one."""
        return nullcontext()


NO_TRACES: Final = Traces()
