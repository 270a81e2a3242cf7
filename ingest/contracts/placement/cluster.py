"""What nodes of a cluster say of its slots. Pure: the caller asks, and passes the replies on."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from ingest.contracts.placement.layout import slot_of

#: To be sent to a node, in one round trip.
QUESTIONS: Final = (("CLUSTER", "INFO"), ("CLUSTER", "SLOTS"))

#: How a node replies whose cluster has the slot elsewhere, or nowhere at the moment; and what
#: redis-py makes of that with the parser that takes the word away.
_MISROUTED: Final = ("MOVED ", "ASK ", "CLUSTERDOWN", "TRYAGAIN")
_KINDS: Final = ("MovedError", "AskError", "ClusterDownError", "TryAgainError")


#: What is wrong, and what to do, where one server is wanted and a node of a cluster answers: the
#: directory, limits and arq have keys of many slots in one command.
CLUSTERED: Final = "it is a node of a cluster"
HOME_REMEDY: Final = (
    "point REDIS_URL at one ordinary server or at sentinels (redis+sentinel://). A cluster may"
    " have the streams: STREAMS_URL=redis+cluster://host:port,host:port."
)
LIST_REMEDY: Final = (
    "a cluster's streams are named by STREAMS_URL=redis+cluster://host:port,host:port"
)


class Node(NamedTuple):
    """Where a server is."""

    host: str
    port: int


class SlotTable(NamedTuple):
    """Which node has which slots, as one node sees it; of two the one of a later epoch is right."""

    #: Whether the node sees most others. One that does not may know less.
    is_ok: bool
    epoch: int
    #: First and last slots, and who has them.
    ranges: tuple[tuple[int, int, Node], ...] = ()

    def node_of(self, shard: int) -> Node | None:
        """Who has a shard; None if nobody has."""
        slot = slot_of(shard)
        return next(
            (node for first, last, node in self.ranges if first <= slot <= last), None
        )

    @property
    def nodes(self) -> Sequence[Node]:
        """Those that have slots, each once."""
        return list(dict.fromkeys(node for _, _, node in self.ranges))


def slot_table(replies: Sequence[Any], asked: Node) -> SlotTable:
    """What the replies of a node to the questions say.

    Raises ValueError for what no node of a cluster replies.
    """
    if wrong := next((each for each in replies if isinstance(each, Exception)), None):
        raise ValueError(str(wrong))
    info, slots = replies
    facts = dict(line.split(":", 1) for line in _text(info).splitlines() if ":" in line)
    ranges = tuple(
        # A node that does not know its own address leaves it out.
        (first, last, Node(_text(primary[0] or b"") or asked.host, primary[1]))
        for first, last, primary, *_ in slots
    )
    return SlotTable(
        facts["cluster_state"] == "ok", int(facts["cluster_current_epoch"]), ranges
    )


def is_clustered(info: Mapping[str, Any]) -> bool:
    """Whether a server is a node of a cluster, by its INFO; it may be the only one."""
    # Valkey has a name of its own for it.
    return "cluster" in {info.get("redis_mode"), info.get("server_mode")}


def is_misrouted(error: BaseException) -> bool:
    """Whether another node has the slot, or none: nothing was done."""
    return str(error).startswith(_MISROUTED) or type(error).__name__ in _KINDS


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
