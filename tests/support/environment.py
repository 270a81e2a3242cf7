"""What the processes that tests start inherit of the tests' own environment."""

import os

#: By `COVERAGE_PROCESS_CONFIG` coverage goes on in a subprocess.
_INHERITED = ("PATH", "COVERAGE_PROCESS_CONFIG")


def inherited() -> dict[str, str]:
    """Nothing but the search path, and whether coverage is measured.

    Edges leave nothing in the machine's memory.
    """
    own = os.environ  # noqa: TID251 -- to be handed on
    given = {name: own[name] for name in _INHERITED if name in own}
    return {**given, "REFTIDE_SHARED_MEMORY": "off"}
