"""What Postgres' settings mean, and those of a worker.

Pure: facts go in, findings come out.
"""

from collections.abc import Iterator, Mapping, Sequence
from operator import not_
from typing import Any, Final, NamedTuple

from ingest.contracts.checkups.checkup import Check, Rule, Rules, among
from workers.postgres.database import SERVER_SETTINGS
from workers.postgres.pooler import REMEDY

_LEAST_POSTGRES: Final = 150_000
#: Of tables that others own, so many are named.
_NAMED: Final = 3

#: What a worker asks for when it connects, and cannot do without.
SESSION: Final = (
    "statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout",
    "synchronous_commit",
)  # fmt: skip


class _Connections(NamedTuple):
    """How many connections are free, for so many workers that open so many each."""

    free: int
    workers: int
    each: int

    @property
    def missing(self) -> int:
        return self.workers * self.each - self.free


class Sharing(NamedTuple):
    """Whether two clients were given one session, and whether REFTIDE_POOLER says so."""

    is_shared: bool
    is_pooled: bool


class _Rights(NamedTuple):
    """What the role of DATABASE_URL may not do."""

    role: str
    tables_of_others: Sequence[str]
    may_create: bool

    @property
    def lacking(self) -> str:
        others = ", ".join(self.tables_of_others[:_NAMED])
        more = len(self.tables_of_others) - _NAMED
        parts = [
            f"{self.role} does not own {others}{f' and {more} more' if more > 0 else ''}"
            if others
            else "",
            "" if self.may_create else f"{self.role} may create no tables",
        ]
        return "; ".join(filter(None, parts))


def check_postgres(
    facts: Mapping[str, Any],
    workers: int,
    each: int,
    session: Mapping[str, str],
    sharing: Sharing,
) -> Iterator[Check]:
    """What the server is set to and holds; `facts` are a row of `checkup.sql`.

    So many workers open so many connections each; `session` is what one of them was given
    of `SERVER_SETTINGS`.
    """
    connections = _Connections(facts["connections"] - facts["taken"], workers, each)
    return _RULES.judge(
        {
            **facts,
            "version": (facts["version_number"], facts["version"]),
            "role": "standby" if facts["is_standby"] else "primary",
            "default_transaction_read_only": facts["read_only"],
            "schema": facts["has_events"] and facts["has_directory_changes"],
            "partitions": facts["missing_partitions"] or [],
            "rights": _Rights(
                facts["role_name"], facts["tables_of_others"], facts["may_create"]
            ),
            "pooler": sharing,
            # A pooler has a number of its own.
            "max_connections": None if sharing.is_pooled else connections,
            "session": {
                name: session.get(name)
                for name in SESSION
                if session.get(name) != SERVER_SETTINGS[name]
            },
        }
    )


def _is_supported(version: tuple[int, str]) -> bool:
    return version[0] >= _LEAST_POSTGRES


def _shown_session(lacking: Mapping[str, Any]) -> str:
    texts = [f"{name} = {value}" for name, value in lacking.items()]
    return ", ".join(texts) or "as workers ask for it"


def _shown_sharing(sharing: Sharing) -> str:
    shared = "shared sessions" if sharing.is_shared else "sessions of its own"
    return f"{shared}, REFTIDE_POOLER={'transaction' if sharing.is_pooled else 'none'}"


_POOLER: Final = (
    "a pooler drops what workers ask for: connect without it, or set these for the role"
    " (alter role … set …)"
)
_DESTROYS: Final = "set it on: without it a power cut can destroy the database"

_RULES: Final = Rules(
    "Postgres",
    Rule("version", _is_supported, "use PostgreSQL 15 or later"),
    Rule("role", among("primary"), "point DATABASE_URL at the primary"),
    Rule("synchronous_commit", "off".__ne__,
         "set synchronous_commit = on: an event is acknowledged after its commit, so a"
         " commit that a crash can undo loses it"),
    Rule("fsync", among("on"), _DESTROYS),
    Rule("full_page_writes", among("on"), _DESTROYS),
    Rule("default_transaction_read_only", among("off"),
         "set default_transaction_read_only = off: nothing can be recorded"),
    Rule("schema", bool, "run `reftide schema`"),
    Rule("rights", lambda rights: not rights.lacking,
         "name the owner of the tables in DATABASE_URL, or `grant OWNER to {0.role}` and"
         " `grant create on schema public to {0.role}`: workers make partitions"),
    Rule("partitions", not_,
         "run `reftide schema`, and a worker, which makes them ahead of time"),
    Rule("pooler", lambda sharing: sharing.is_pooled or not sharing.is_shared,
         f"it leads to a pooler: {REMEDY}"),
    Rule("max_connections", lambda counts: counts.missing <= 0,
         "raise it by {0.missing}, or run fewer workers", "warn"),
    Rule("session", lambda lacking: "synchronous_commit" not in lacking, _POOLER),
    Rule("session", not_, _POOLER, "warn"),
    version=lambda version: version[1],
    schema=lambda has_schema: "present" if has_schema else "missing",
    rights=lambda rights: rights.lacking or f"{rights.role} owns every table",
    partitions=lambda missing: (
        f"no {', '.join(missing)}" if missing else "this month and the next"
    ),
    pooler=_shown_sharing,
    max_connections="{0.free} for {0.workers} workers of {0.each}".format,
    session=_shown_session,
)  # fmt: skip

#: `geo file`: the file, if one is set, and why it cannot be read, if it cannot.
WORKER: Final = Rules(
    "worker",
    Rule("geo file", lambda file: file[1] is None,
         "give a readable MMDB file; until then events have no region and no city",
         "warn"),
    geo_file=lambda file: file[1] or str(file[0] or "none: countries only"),
)  # fmt: skip
