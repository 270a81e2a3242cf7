"""The extra `otel`: without it nothing is traced, and everything else goes on."""

from importlib.util import find_spec

from ingest.contracts.telemetry import Log

_ADVICE = "install reftide[otel], or unset REFTIDE_TRACES_PER_SECOND"


def is_installed() -> bool:
    """Whether spans can be exported; where traces are wanted and not, that is said."""
    try:
        is_there = find_spec("opentelemetry.exporter.otlp.proto.http") is not None
    except ModuleNotFoundError:
        is_there = False
    if not is_there:
        Log().warning("trace.unavailable", advice=_ADVICE)
    return is_there
