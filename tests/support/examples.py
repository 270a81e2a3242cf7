"""Which examples properties are tried with, and how many."""

import os

from hypothesis import HealthCheck, settings

_TIMES = os.environ.get("REFTIDE_TEST_EXAMPLES")  # noqa: TID251 -- an entry point


def choose_examples() -> None:
    """The same ones each time, so that a change is judged by itself.

    Where so many times as many are asked for, to look for what is rare, they are others each
    time. How long one takes says how busy the machine is.
    """
    settings.register_profile("reftide", deadline=None, derandomize=_TIMES is None)
    settings.load_profile("reftide")


def examples(count: int) -> settings:
    """So many, of a property that needs servers; a fixture serves all, and none is quick."""
    return settings(
        max_examples=count * int(_TIMES or 1),
        suppress_health_check=[
            HealthCheck.function_scoped_fixture,
            HealthCheck.too_slow,
        ],
    )
