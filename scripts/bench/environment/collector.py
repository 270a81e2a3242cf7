"""A collector of traces, for the length of a block."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib.util import find_spec

from scripts.bench.environment.processes import HOST, baseline
from scripts.bench.environment.servers import BenchServers
from scripts.errors import Unreachable

_PER_SECOND = "1000"


@contextmanager
def collected(servers: BenchServers, one_in: int) -> Iterator[BenchServers]:
    """The servers with a collector, for edges that trace one request in so many."""
    if find_spec("opentelemetry") is None:
        raise Unreachable(
            "Traces need the extra `otel`.",
            "make the development environment: `python3 scripts/_venv.py dev`.",
        )
    with baseline(servers, "collector_app") as (port, _):
        environment = servers.environment
        more = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{HOST}:{port}",
            "REFTIDE_DATA": f"{environment.data}-traced",
            "REFTIDE_TRACES_PER_SECOND": _PER_SECOND,
            "REFTIDE_TRACE_ONE_IN": str(one_in),
        }
        variables = {**environment.variables, **more}
        yield replace(servers, environment=replace(environment, variables=variables))
