"""`reftide worker`: become `python -m workers`, with the servers filled in."""

import click

from scripts.environment import Environment
from scripts.stack.processes import become, note_admin_port


@click.command(
    epilog="""\b
Any number of workers share the work. Settings, all from the environment:
  REDIS_URL, DATABASE_URL                   required with servers of your own
  REFTIDE_WORKER_NAME                       a name that survives restarts
  REFTIDE_BATCH_SIZE                        events a transaction takes (500)
  REFTIDE_GATHER_MS                         between reads that find few entries (50)
  REFTIDE_STORE_EMAIL                       encrypted, plain or none (encrypted)
  REFTIDE_GEO_FILE                          an mmdb file for country, region, city
  REFTIDE_TRACES_PER_SECOND                 as for edges; docs: Traces (0: none)
  REFTIDE_ADMIN_HOST, REFTIDE_ADMIN_PORT    where to show figures (127.0.0.1, nowhere)
SIGTERM finishes the batch in hand and drains: exit 0.
"""
)
@click.pass_obj
def command(environment: Environment) -> None:
    """Run one worker: record the streams' events in Postgres."""
    environment.redis_url()
    environment.database_url()
    note_admin_port(environment, "worker")
    become("workers", environment.for_processes())
