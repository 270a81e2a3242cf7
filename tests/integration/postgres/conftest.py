"""A database as 0.1.0 made it, for tests of what an upgrade does with it."""

from collections.abc import Iterator
from uuid import uuid4

import pytest

from tests.conftest import Servers


@pytest.fixture
def former_database(servers: Servers) -> Iterator[str]:
    """A database as 0.1.0 made it."""
    name = f"reftide_former_{uuid4().hex}"
    servers.execute(f'create database "{name}"')
    yield servers.database(name)
    servers.execute(f'drop database "{name}" with (force)')
