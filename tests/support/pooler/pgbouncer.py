"""PgBouncer as tests of the tier `pooler` use it."""

import os
import subprocess
from shutil import which

import pytest

from scripts.bench.environment.pooler import PgBouncer
from scripts.bench.environment.processes import HOST

needs_pgbouncer = pytest.mark.skipif(
    not (which("pgbouncer") and which("psql")),
    reason="PgBouncer or psql is not installed",
)


def lead(pooler: PgBouncer, server: str) -> None:
    """Have it lead to the server of that URL from now on, by RELOAD."""
    pooler.configure(server)
    subprocess.run(
        [which("psql") or "psql", "-h", HOST, "-p", str(pooler.port), "-U", "admin", "-c", "RELOAD", "pgbouncer"],
        check=True, capture_output=True, env={"PATH": os.defpath},
    )  # fmt: skip
