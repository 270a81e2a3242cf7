"""`python -m ingest`: one edge process. The only place here that reads the environment."""

import os
import sys

from ingest.app import run
from ingest.contracts.telemetry import configure_logging
from ingest.contracts.variables import SettingsError
from ingest.settings import Settings
from ingest.sink import ShardsDiffer


def main() -> None:
    environment = os.environ  # noqa: TID251 -- an entry point
    try:
        settings = Settings.load(environment)
        configure_logging(settings.log_level)
        run(settings)
    except (SettingsError, ShardsDiffer) as error:
        sys.exit(f"edge: {error}")


if __name__ == "__main__":
    main()
