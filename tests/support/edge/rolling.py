"""Clients that keep their connections and never pause, while processes restart one by one."""

import os
import signal
import threading
from collections.abc import Callable, Mapping
from functools import partial
from http.client import HTTPConnection, HTTPException
from typing import Any, Protocol, Self

import orjson

from tests.support.servers.cli import Cli

_CLICK = {"affiliate_url": "https://yoursite.com/pricing?aff=PARTNER123"}
_CLIENTS = 4
_SESSIONS = "select session, count(*) as rows from events where session like $1 || '-%' group by 1"

Eventually = Callable[[Callable[[], object], float], None]


class Running(Protocol):
    """`reftide up`."""

    @property
    def cli(self) -> Cli: ...

    def children(self) -> dict[str, list[int]]: ...


class Clients:
    """They click until the block ends; each click is of a session of its own."""

    def __init__(self, name: str, port: int) -> None:
        self.accepted: list[str] = []
        #: Statuses other than 200, and connections that were refused or broken.
        self.failures: list[object] = []
        self._name, self._port = name, port
        self._is_over = threading.Event()
        self._threads = [
            threading.Thread(target=self._send, args=(number,))
            for number in range(_CLIENTS)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        for thread in self._threads:
            thread.join()

    def _send(self, client: int) -> None:
        connection = HTTPConnection("127.0.0.1", self._port, timeout=30)
        number = 0
        while not self._is_over.is_set():
            number += 1
            session = f"{self._name}-{client}-{number}"
            headers = {
                "Content-Type": "application/json",
                "X-Forwarded-For": f"10.{client}.{number >> 8 & 255}.{number & 255}",
            }
            try:
                body = orjson.dumps({**_CLICK, "session_id": session})
                connection.request("POST", "/api/v1/track/click", body, headers)
                answer = connection.getresponse()
                answer.read()  # which also closes what the answer says is to be closed
            except (OSError, HTTPException) as error:
                self.failures.append(repr(error))
                connection.close()
                continue
            seen = self.accepted if answer.status == 200 else self.failures
            seen.append(session if answer.status == 200 else answer.status)
        connection.close()


def restarted_one_by_one(
    up: Running, name: str, port: int, eventually: Eventually
) -> Clients:
    """Every edge and worker, each when the one before is back; the clients meanwhile."""
    _unlimited(up.cli)
    before = up.children()
    with Clients(name, port) as clients:

        def go_on() -> None:
            wanted = len(clients.accepted) + 100
            eventually(lambda: len(clients.accepted) >= wanted, 60.0)

        for kind in ("edge", "worker"):
            for pid in before[kind]:
                go_on()
                os.kill(pid, signal.SIGTERM)
                eventually(
                    partial(_is_replaced, up, kind, pid, len(before[kind])), 60.0
                )
        go_on()
    return clients


def _unlimited(cli: Cli) -> None:
    """Behind a proxy all clients of this machine are one address."""
    cli.document("limits", "set", "affitor.click.address", "10000000")


def _is_replaced(up: Running, kind: str, pid: int, count: int) -> bool:
    running = up.children()[kind]
    return pid not in running and len(running) == count


def recorded_once(up: Running, clients: Clients, name: str) -> Mapping[str, Any]:
    """Of what was accepted: the sessions without a row, and those with more than one."""
    found = {row["session"]: row["rows"] for row in up.cli.fetch(_SESSIONS, name)}
    return {
        "lost": {*clients.accepted} - found.keys(),
        "doubled": {session for session, rows in found.items() if rows > 1},
    }
