"""A storm from its first process to its verdict. Used by `reftide bench storm`."""

import asyncio
import resource
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ingest.contracts.clickid import KeyRing
from ingest.spool.home import contents, spool_of, stores
from scripts.bench.ground import SECONDS, SHARDS, foreign, planted
from scripts.bench.loops import runner
from scripts.bench.storm import faults, judge
from scripts.bench.storm.client import Client, Tally
from scripts.bench.storm.fleet import Fleet, assembled
from scripts.bench.storm.harm import Harm
from scripts.bench.storm.journal import Journal, read
from scripts.bench.storm.report import Outcome
from scripts.bench.storm.traffic import events
from scripts.books import read_books
from scripts.commands.limits import known_limits
from scripts.embedded import Embedded, EmbeddedError, Options
from scripts.environment import Environment
from scripts.output import Unreachable
from scripts.queries import statements
from scripts.readiness import answers
from scripts.schema import schema_text
from scripts.servers import postgres, redis_server
from scripts.supervision import Say
from scripts.verification import is_at_rest, verify

_LIMITS: Final = statements("limits")
_NO_LIMIT: Final = 10_000_000

_READY_SECONDS: Final = 60.0
_LOOK_AGAIN_SECONDS: Final = 0.1
#: To settle in: so long, and for every event so much more.
_SETTLE_SECONDS: Final = 60.0
_PER_EVENT: Final = 0.002
#: A connection takes three of them here.
_FILES: Final = 20_000


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to do. `rate` is in events a second."""

    events: int
    kills: int
    seed: int
    rate: float


def storm(caller: Environment, wanted: Wanted, say: Say) -> tuple[Outcome, Path | None]:
    """The outcome; if it is not fine, also the folder that was kept to look into.

    Raises Unreachable where something does not start at all.
    """
    _allow_files()
    folder = Path(tempfile.mkdtemp(prefix="reftide-storm-"))
    is_fine = False
    try:
        with runner() as loop:
            outcome = loop.run(_storm(caller, wanted, folder, say))
        is_fine = outcome.is_fine
    except EmbeddedError as error:
        raise Unreachable(error.what, error.remedy) from error
    finally:
        if is_fine:
            shutil.rmtree(folder)
        else:
            say(f"its journal and logs are kept in {folder}")
    return outcome, None if is_fine else folder
