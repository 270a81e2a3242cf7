"""A server that speaks S3: moto's, which forgets everything when it ends.

It is not among the packages of the tests: install `moto[server]` into a virtual environment of
its own, put its `bin` into PATH, and run `scripts/test -m s3`.
"""

import socket
import subprocess
from urllib.request import Request, urlopen

from tests.support.eventually import eventually


class S3Server:
    """Has one bucket, `bucket`."""

    def __init__(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as found:
            self.port = found.getsockname()[1]
        self._process: subprocess.Popen[bytes] | None = None

    def store(self, prefix: str) -> str:
        """The URL of a prefix of the bucket, as settings and commands take it."""
        return f"s3://bucket/{prefix}?endpoint={self.url}&region=us-east-1"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        command = ["moto_server", "-H", "127.0.0.1", "-p", str(self.port)]
        self._process = subprocess.Popen(  # noqa: ASYNC220 -- in a moment
            command, stderr=subprocess.DEVNULL
        )

        async def listens() -> bool:
            with socket.socket() as one:
                return one.connect_ex(("127.0.0.1", self.port)) == 0

        await eventually(listens)
        urlopen(Request(f"{self.url}/bucket", method="PUT")).close()  # noqa: ASYNC210, S310 -- ours

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
