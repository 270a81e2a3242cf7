"""How many examples a property is tried with that needs a server for each of them."""

import os

from hypothesis import HealthCheck, settings

#: So many times as many, to look for what is rare.
_TIMES = int(os.environ.get("REFTIDE_TEST_EXAMPLES", "1"))  # noqa: TID251 -- an entry point


def examples(count: int) -> settings:
    """Settings for so many; a fixture serves all of them, and none has to be quick."""
    return settings(
        max_examples=count * _TIMES,
        suppress_health_check=[
            HealthCheck.function_scoped_fixture,
            HealthCheck.too_slow,
        ],
    )
