"""`python -m workers`: one worker process. The only place here that reads the environment."""

import os
import sys
from typing import Final

from ingest.contracts.telemetry import configure_logging
from ingest.contracts.variables import SettingsError
from workers.main import run
from workers.settings import Settings

#: Of every command: a setting is wrong, and starting again does not help.
_ASKED_WRONGLY: Final = 2


def main() -> None:
    environment = os.environ  # noqa: TID251 -- an entry point
    try:
        settings = Settings.load(environment)
        configure_logging(settings.log_level)
        sys.exit(run(settings))
    except SettingsError as error:
        sys.stderr.write(f"worker: {error}\n")
        sys.exit(_ASKED_WRONGLY)


if __name__ == "__main__":
    main()
