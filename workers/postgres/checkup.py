"""What Postgres' settings mean, and those of a worker.

Pure: facts go in, findings come out.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from ingest.contracts.checkup import Check, judged

_LEAST_POSTGRES: Final = 150_000

#: What a worker asks for when it connects, and cannot do without.
SESSION: Final = (
    "statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout",
    "synchronous_commit",
)  # fmt: skip


def check_postgres(facts: Mapping[str, Any]) -> Iterator[Check]:
    """What the server is set to and holds; `facts` are a row of `checkup.sql`."""
    version = facts["version"]
    is_recent = facts["version_number"] >= _LEAST_POSTGRES
    yield judged(
        "Postgres", "version", version, "use PostgreSQL 15 or later", ok=is_recent
    )
    role = "standby" if facts["is_standby"] else "primary"
    advice = "point DATABASE_URL at the primary"
    yield judged("Postgres", "role", role, advice, ok=role == "primary")
    yield from _durability(facts)
    writes = facts["read_only"]
    advice = "set default_transaction_read_only = off: nothing can be recorded"
    yield judged(
        "Postgres", "default_transaction_read_only", writes, advice, ok=writes == "off"
    )
    yield from _tables(facts)


def check_connections(facts: Mapping[str, Any], workers: int, each: int) -> Check:
    """Whether so many workers get all the connections that each of them may open."""
    free, wanted = facts["connections"] - facts["taken"], workers * each
    is_enough = wanted <= free
    return Check(
        "Postgres",
        "max_connections",
        "ok" if is_enough else "warn",
        f"{free} for {workers} workers of {each}",
        "" if is_enough else f"raise it by {wanted - free}, or run fewer workers",
    )


def check_session(wanted: Mapping[str, str], found: Mapping[str, str]) -> Check:
    """Whether a connection has what a worker asked for: poolers may drop it."""
    differing = [name for name in SESSION if found.get(name) != wanted[name]]
    if not differing:
        return Check("Postgres", "session", "ok", "as workers ask for it")
    names = ", ".join(f"{name} = {found.get(name)}" for name in differing)
    advice = (
        "a pooler drops what workers ask for: connect without it, or set these for the"
        " role (alter role … set …)"
    )
    is_unsafe = "synchronous_commit" in differing
    return Check("Postgres", "session", "wrong" if is_unsafe else "warn", names, advice)


def check_geo(file: Path | None, problem: str | None) -> Check:
    """What of REFTIDE_GEO_FILE can be read; None where none is set."""
    if file is None:
        return Check("worker", "geo file", "ok", "none: countries only")
    if problem is None:
        return Check("worker", "geo file", "ok", str(file))
    advice = "give a readable MMDB file; until then events have no region and no city"
    return Check("worker", "geo file", "warn", problem, advice)


def _durability(facts: Mapping[str, Any]) -> Iterator[Check]:
    found = facts["synchronous_commit"]
    yield judged(
        "Postgres",
        "synchronous_commit",
        found,
        "set synchronous_commit = on: an event is acknowledged after its commit, so a"
        " commit that a crash can undo loses it",
        ok=found != "off",
    )
    for name in ("fsync", "full_page_writes"):
        advice = f"set {name} = on: without it a power cut can destroy the database"
        yield judged("Postgres", name, facts[name], advice, ok=facts[name] == "on")


def _tables(facts: Mapping[str, Any]) -> Iterator[Check]:
    has_schema = facts["has_events"] and facts["has_directory_changes"]
    found = "present" if has_schema else "missing"
    yield judged("Postgres", "schema", found, "run `reftide schema`", ok=has_schema)
    missing = facts["missing_partitions"] or []
    yield judged(
        "Postgres",
        "partitions",
        "this month and the next" if not missing else f"no {', '.join(missing)}",
        "run `reftide schema`, and a worker, which makes them ahead of time",
        ok=not missing,
    )
