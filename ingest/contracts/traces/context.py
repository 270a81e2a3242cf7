"""Trace contexts, in the form of W3C's Trace Context, and where an event carries one.

An event of a traced request carries the context of the span that appended it, at the end of
its envelope.
"""

import re
from typing import Final

from ingest.contracts.encoding.envelopes import PLAIN, REFUND, TRACED

_CHARS: Final = 55
_ODD: Final = "13579bdf"
_CONTEXT: Final = re.compile(
    r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
)
_KEY: Final = b',"tp":"'
_END: Final = b'"}'


def is_sampled(traceparent: str) -> bool:
    """Whether a header is a context of version 00 whose caller records its spans."""
    return (
        len(traceparent) == _CHARS
        and traceparent[-1] in _ODD
        and _CONTEXT.fullmatch(traceparent) is not None
    )


def with_context(payload: bytes, traceparent: str) -> bytes:
    """An encoded envelope that has no context, with this one."""
    context = traceparent.encode("ascii")
    beginning = REFUND if payload.startswith(REFUND) else TRACED
    return b"".join((beginning, payload[len(PLAIN) : -1], _KEY, context, _END))


def context_of(payload: bytes) -> str | None:
    """The context in an encoded envelope."""
    if not payload.startswith((TRACED, REFUND)):
        return None
    _, _, tail = payload.rpartition(_KEY)
    context = tail.removesuffix(_END).decode("ascii", "replace")
    return context if is_sampled(context) else None
