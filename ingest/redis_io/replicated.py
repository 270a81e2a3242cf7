"""Appends that replicas confirm: WAIT after each write, on a connection of their own.

WAIT blocks its connection. So a write gathers what arrives while the one before is confirmed,
and one WAIT is for all of its commands.
"""

from typing import Any, Final

from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError
from typing_extensions import override

from ingest.contracts.variables import Replicas
from ingest.redis_io import client
from ingest.redis_io.client import NotSent, describe_error
from ingest.redis_io.multiplexer import INCOMPLETE, Multiplexer, packed

#: How long replicas may take to confirm, in parts of how long Redis may take to answer: a
#: command waits for two confirmations at most, its own and the one before it.
_CONFIRM_PART: Final = 0.4


class NotReplicated(RedisConnectionError):
    """The command has run, and too few replicas confirmed it: a failover may undo it."""

    def __init__(self, problem: str, reply: Any = None) -> None:
        """`reply` is what the primary replied to the command."""
        super().__init__(problem)
        self.reply = reply


def patience(replicas: Replicas) -> float:
    """How long Redis may take to answer, replicas included."""
    return client.ANSWER_SECONDS + (_confirm_seconds() if replicas.count else 0)


def _confirm_seconds() -> float:
    return client.ANSWER_SECONDS * _CONFIRM_PART


def confirmation(replicas: Replicas) -> tuple[str | int, ...]:
    """The command that waits until replicas have what its connection wrote."""
    timeout = int(_confirm_seconds() * 1000)
    if replicas.is_synced:
        return ("WAITAOF", 0, replicas.count, timeout)
    return ("WAIT", replicas.count, timeout)


def shortfall(reply: Any, replicas: Replicas) -> str | None:
    """What the reply to `confirmation` says that is missing; None: nothing."""
    if isinstance(reply, Exception):
        return f"replicas: {describe_error(reply)}"
    found = reply[1] if replicas.is_synced else reply
    if found >= replicas.count:
        return None
    how = "wrote it to disk" if replicas.is_synced else "confirmed it"
    return f"{found} of {replicas.count} replicas {how}"


class ReplicatedMultiplexer(Multiplexer):
    """One connection whose commands are answered once replicas have them.

    The answer to a command that they did not confirm in time is `NotReplicated`.
    """

    def __init__(self, redis: Redis, *, pending: int, replicas: Replicas) -> None:
        """At most `pending` commands wait for a reply."""
        super().__init__(redis, pending=pending)
        self._replicas = replicas
        self._confirm = packed(confirmation(replicas))
        #: How many commands are written and not confirmed.
        self._written = 0
        #: The primary's replies to them.
        self._replies: list[Any] = []

    @override
    def _send(self) -> None:
        if self._written:
            return  # what gathers is sent when this write is confirmed
        if self._transport is not None and self._unsent:
            self._written = len(self._unsent)
            self._unsent.append(self._confirm)
        super()._send()

    @override
    def _take_replies(self) -> None:
        while (reply := self._answers.gets()) is not INCOMPLETE:
            if not self._written:
                raise IndexError("nothing was asked")
            if len(self._replies) < self._written:
                self._replies.append(reply)
            else:
                self._take_confirmation(reply)

    def _take_confirmation(self, reply: Any) -> None:
        problem = shortfall(reply, self._replicas)
        self._hand_on(problem)
        if problem is None:
            self._send()
        else:
            # The next write would wait as long, and for nothing.
            super()._fail_all(NotSent(problem))

    def _hand_on(self, problem: str | None) -> None:
        """Hand on the primary's replies, as what they are worth by what is missing."""
        replies, self._replies, self._written = self._replies, [], 0
        for reply in replies:
            answered, _ = self._unanswered.popleft()
            if isinstance(reply, ResponseError):
                self._tell(answered, reply)
                self._leave_if_demoted(reply)
            else:
                self._tell(
                    answered, NotReplicated(problem, reply) if problem else reply
                )

    @override
    def _fail_all(self, why: Exception) -> None:
        self._hand_on(shortfall(why, self._replicas))
        super()._fail_all(why)
