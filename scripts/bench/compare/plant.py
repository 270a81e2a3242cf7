"""`python plant.py CODE…`: the tables, the demo workspace and links, by the command line.

Runs in any version, on the servers that its environment names.
"""

import os
import sys
import time

from scripts.cli import reftide
from scripts.environment import Environment


def main() -> None:
    variables, clock = os.environ, time.time  # noqa: TID251 -- an entry point
    environment = Environment(variables, clock)
    link = ("--program", "1", "--partner", "jane", "--url", "https://yoursite.com")
    for words in (
        ("schema",),
        ("seed",),
        *(("links", "add", code, *link) for code in sys.argv[1:]),
    ):
        reftide.main([*words], obj=environment, standalone_mode=False)


if __name__ == "__main__":
    main()
