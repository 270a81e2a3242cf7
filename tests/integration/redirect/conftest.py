"""A Redis that may go away."""

from collections.abc import Iterator

import pytest

from tests.support.servers.valkey import Valkey, running_valkey


@pytest.fixture
def valkey() -> Iterator[Valkey]:
    with running_valkey() as server:
        yield server
