"""`reftide edge`: become `python -m ingest`, with the servers filled in."""

import click

from scripts.environment import Environment
from scripts.stack.processes import become, note_admin_port


@click.command(
    epilog="""\b
Several edges may share one port. Settings, all from the environment:
  REDIS_URL, REFTIDE_SECRET                 required with servers of your own
  REFTIDE_HOST, REFTIDE_PORT                where to listen (127.0.0.1, 8080)
  REFTIDE_SHARDS                            shards of a new installation (4)
  REFTIDE_TRUSTED_PROXIES                   CIDRs whose X-Forwarded-For counts (none)
  REFTIDE_STORE_IP                          truncated, full or none (truncated)
  REFTIDE_WELL_KNOWN                        directory of files for phones' apps (none)
  REFTIDE_GPC                               anonymous, count or refuse (anonymous)
  REFTIDE_STORE_EMAIL                       encrypted, plain or none (encrypted)
  REFTIDE_TRACES_PER_SECOND                 requests to trace; docs: Traces (0: none)
  REFTIDE_ADMIN_HOST, REFTIDE_ADMIN_PORT    where to show figures (127.0.0.1, nowhere)
  REFTIDE_SHARED_MEMORY                     what outlives it when killed (/dev/shm)
  REFTIDE_DRAIN_SECONDS                     how long it takes requests after SIGTERM (0)
SIGTERM drains: exit 0.
"""
)
@click.pass_obj
def command(environment: Environment) -> None:
    """Run one edge: take events over HTTP and append them to the streams."""
    environment.redis_url()
    note_admin_port(environment, "edge")
    become("ingest", environment.for_edge())
