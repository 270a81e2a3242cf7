"""`python -m workers`: one worker process. The only place here that reads the environment."""

import os
import sys

from ingest.contracts.telemetry import configure_logging
from ingest.contracts.variables import SettingsError
from workers.enrich.geo import GeoLibraryMissingError
from workers.main import run
from workers.settings import Settings


def main() -> None:
    environment = os.environ  # noqa: TID251 -- an entry point
    try:
        settings = Settings.load(environment)
        configure_logging(settings.log_level)
        sys.exit(run(settings))
    except (SettingsError, GeoLibraryMissingError) as error:
        sys.exit(f"worker: {error}")


if __name__ == "__main__":
    main()
