"""`reftide control`: the control API."""

import asyncio

import click
from aiohttp import web

from scripts.control.mount import table
from scripts.control.process import serve
from scripts.environment import Environment


@click.command(
    epilog="""\b
  reftide keys add --scopes links:read,links:write,stats:read
  curl http://127.0.0.1:8090/control/v1/links -H "Authorization: Bearer KEY"
\b
/control/v1/openapi.json describes every route. Dub's /links, /partners and /analytics,
Affixo's /v1/links and /v1/affiliates, and Affitor's /api/tracking/events are served too:
let your proxy send these paths here and all others to edges.
REFTIDE_SECRET and DATABASE_URL are required with servers of your own. SIGTERM: exit 0.
"""
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Where to listen.")
@click.option("--port", type=click.IntRange(0, 65535), default=8090, show_default=True)
@click.pass_obj
def command(environment: Environment, host: str, port: int) -> None:
    """Serve the control API: links, partners, programs, keys and sums over HTTP."""
    environment.database_url()
    app = web.Application()
    app.add_routes(table(environment))
    asyncio.run(serve(app, host, port, lambda url: click.echo(f"ready {url}")))
