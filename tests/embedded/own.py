"""A process that owns embedded servers until it is told to stop; tests start it."""

import signal
import sys
from pathlib import Path

import orjson

from scripts.embedded.errors import EmbeddedError
from scripts.embedded.instance import Embedded
from scripts.embedded.server import Options


def main() -> int:
    stop = {signal.SIGTERM, signal.SIGINT}
    # Blocked here, and so in every thread; servers must hear them nevertheless.
    signal.pthread_sigmask(signal.SIG_BLOCK, stop)
    try:
        with Embedded(Path(sys.argv[1]), Options(durable=False)) as embedded:
            known = {
                "redis_url": embedded.redis_url,
                "database_url": embedded.database_url,
                "pids": [server.pid for server in embedded.servers],
            }
            sys.stdout.write(orjson.dumps(known).decode() + "\n")
            sys.stdout.flush()
            signal.sigwait(stop)
    except EmbeddedError as error:
        sys.stdout.write(str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
