"""A real Valkey and a real PostgreSQL beside Reftide, from wheels, without Docker.

Both listen on unix sockets only, run as long as the process that owns them and end in
order when that process ends, however it ends. Their data survives any of that.

    async with Embedded(data, Options(notice=print)) as embedded:
        embedded.redis_url, embedded.database_url, embedded.secret
        embedded.publish(host="127.0.0.1", port=8080)   # Instance.load(data).facts
        server, _ = embedded.servers
        await asyncio.wrap_future(server.exited)        # it has ended by itself
        await embedded.restart(server)                  # or leave, which stops both

Other commands find a running instance with `Instance.load(data)` (None when nothing
serves there) or `Instance.require(data)` (an error that says what to do).

Whether a server that died is started again is the caller's decision. Stop edges and
workers first, then leave the `async with`: they drain into these servers.
"""

from scripts.embedded.errors import EmbeddedError as EmbeddedError
from scripts.embedded.instance import Embedded as Embedded
from scripts.embedded.instance import Instance as Instance
from scripts.embedded.server import Options as Options
from scripts.embedded.server import Server as Server
