"""What a process mounts."""

from aiohttp import web

from ingest.contracts.metrics.build import version
from ingest.core.client_ip import Proxies
from scripts.control.callers import Callers
from scripts.control.openapi import document
from scripts.control.routes import BASE, own_routes, vendors_routes
from scripts.control.serving import Server
from scripts.environment import Environment


def table(environment: Environment) -> list[web.RouteDef]:
    """Every route with its handler. Raises Unreachable without the secret, UsageProblem."""
    proxies = Proxies(environment.networks("REFTIDE_TRUSTED_PROXIES"))
    server = Server(environment, Callers(environment.secrets(), proxies))
    described = document(version())

    async def describe(_: web.Request) -> web.Response:
        return web.json_response(described)

    return [
        web.get(f"{BASE}/openapi.json", describe),
        *(
            web.route(each.method, each.path, server.handler(each.scopes, each.act))
            for each in (*own_routes(), *vendors_routes())
        ),
    ]
