"""`python -m ingest`: one edge process. The only place here that reads the environment."""

import os
import sys
from typing import Final

from ingest.app import run
from ingest.contracts.telemetry import configure_logging
from ingest.contracts.variables import SettingsError
from ingest.durable.stream import ShardCountMismatch
from ingest.http.server import CannotListen
from ingest.settings import EdgeSettings

#: Of every command: a setting is wrong, and starting again does not help.
_ASKED_WRONGLY: Final = 2
#: Likewise: the port is in use.
_UNREACHABLE: Final = 3


def main() -> None:
    environment = os.environ  # noqa: TID251 -- an entry point
    try:
        settings = EdgeSettings.load(environment)
        configure_logging(settings.log_level)
        run(settings)
    except (SettingsError, ShardCountMismatch) as error:
        sys.stderr.write(f"edge: {error}\n")
        sys.exit(_ASKED_WRONGLY)
    except CannotListen as error:
        sys.stderr.write(f"edge: {error}\n")
        sys.exit(_UNREACHABLE)


if __name__ == "__main__":
    main()
