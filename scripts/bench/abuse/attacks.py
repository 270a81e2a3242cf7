"""What attackers send: a function for each attack makes their requests, one by one.

Attackers have many addresses, which a trusted proxy tells of; `spoofing` has one and invents
others. They know links, click ids of clicks that they made, and a key of another workspace.
"""

import gzip
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from random import Random
from typing import Any, Final, NamedTuple

import orjson

from ingest.dialects.batch import BYTES, ROUTE
from scripts.bench.abuse.bodies import hostile_bodies
from scripts.bench.abuse.corpus import bodies, shapes
from scripts.bench.environment.proxy import HOST
from scripts.bench.load.http import framed
from scripts.bench.load.keyless import call, rotating
from scripts.bench.load.traffic import PATH

_LEAD: Final = "/api/v1/track/lead"
#: An address of this machine that no proxy has.
_STRANGER: Final = "127.0.0.2"
_CUSTOMERS: Final = 1000
_EVENTS: Final = 50
_SAMPLES: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """What attackers know: codes of links, and ids of their clicks on them.

    They have a workspace of their own, with a `key`, and a link with the code `other`.
    """

    codes: Sequence[str]
    clicks: Sequence[str]
    key: str
    other: str


class Strike(NamedTuple):
    """A request, or half of one: then no answer is due.

    `weight` is how many requests it counts for; `source` the address that it is sent from.
    """

    raw: bytes
    weight: int = 1
    is_whole: bool = True
    source: str = HOST


#: Makes the next request of an attack.
Attack = Callable[[Random, Scene], Strike]


def post(path: str, body: bytes, dice: Random, *lines: str) -> bytes:
    """A whole request from one of many addresses."""
    address = f"X-Forwarded-For: {rotating(dice.getrandbits(24))}"
    said = (address, "Content-Type: application/json", *lines, "")
    return framed(path, "\r\n".join(said), body)


def _hosts(dice: Random, scene: Scene) -> Strike:
    return Strike(post(PATH, dice.choice(_slow(scene.codes[0])), dice))


def _duplicates(dice: Random, _: Scene) -> Strike:
    body = b'{"domain":"go.yoursite.com","key":"alice"}'
    visitor = f"X-Forwarded-For: {rotating(dice.randrange(16))}\r\n"
    return Strike(framed("/track/click", visitor, body))


def _rotating(dice: Random, scene: Scene) -> Strike:
    made = call(dice, dice.getrandbits(24), dice.choice(scene.clicks))
    return Strike(post(made.path, made.body, dice))


def _cancelling(dice: Random, scene: Scene) -> Strike:
    key = f"Idempotency-Key: {dice.choice(('1', 'a' * 32))}"
    return Strike(post(PATH, _click(dice.choice(scene.codes)), dice, key))


def _theft(dice: Random, scene: Scene) -> Strike:
    return _lead(dice, dice.choice(scene.clicks), dice.randrange(_CUSTOMERS))


def _squatting(dice: Random, _: Scene) -> Strike:
    return _lead(dice, None, dice.randrange(_CUSTOMERS))


def _volume(dice: Random, scene: Scene) -> Strike:
    return _lead(dice, scene.clicks[0], dice.getrandbits(40))


def _wrong_keys(dice: Random, _: Scene) -> Strike:
    key = f"Authorization: Bearer rt_live_{dice.getrandbits(160):040x}"
    return Strike(post(dice.choice((_LEAD, ROUTE.path)), b"{}", dice, key))


def _batches(dice: Random, scene: Scene) -> Strike:
    body = example(scene.other)
    event = {"path": PATH, "body": body, "idempotency_key": f"{dice.random()}"}
    key = f"Authorization: Bearer {scene.key}"
    raw = post(ROUTE.path, orjson.dumps([event] * _EVENTS), dice, key)
    return Strike(raw, weight=_EVENTS)


def _smuggling(dice: Random, scene: Scene) -> Strike:
    return Strike(dice.choice(_shapes(scene.codes[0])))


def _half_heads(dice: Random, scene: Scene) -> Strike:
    raw = post(PATH, _click(scene.codes[0]), dice)
    return Strike(raw[: dice.randrange(1, raw.index(b"\r\n\r\n"))], is_whole=False)


def _bombs(dice: Random, scene: Scene) -> Strike:
    key = f"Authorization: Bearer {scene.key}"
    path = dice.choice((PATH, ROUTE.path))
    coding = dice.choice(("gzip", "zstd"))
    return Strike(post(path, _bomb(), dice, key, f"Content-Encoding: {coding}"))


def _hostile(dice: Random, scene: Scene) -> Strike:
    made = dice.choice(_odd(scene.codes[0]))
    return Strike(post(PATH, made, dice))


def _spoofing(dice: Random, scene: Scene) -> Strike:
    raw = post(PATH, _click(dice.choice(scene.codes)), dice)
    return Strike(raw, source=_STRANGER)


ATTACKS: Final[Mapping[str, Attack]] = {
    "hosts": _hosts,
    "duplicates": _duplicates,
    "rotating": _rotating,
    "cancelling": _cancelling,
    "theft": _theft,
    "squatting": _squatting,
    "volume": _volume,
    "wrong-keys": _wrong_keys,
    "batches": _batches,
    "smuggling": _smuggling,
    "half-heads": _half_heads,
    "bombs": _bombs,
    "hostile": _hostile,
    "spoofing": _spoofing,
}


def example(code: str) -> dict[str, Any]:
    """The fields of a click on a link."""
    page = "https://yoursite.com/"
    url = f"{page}?aff={code}"
    return {"affiliate_url": url, "page_url": page, "session_id": "s", "language": "en"}


def _click(code: str) -> bytes:
    return orjson.dumps(example(code))


def _lead(dice: Random, click: str | None, customer: int) -> Strike:
    named = {"click_id": click} if click else {}
    body = {"customer_key": f"customer-{customer}", "email": "a@example.com", **named}
    return Strike(post(_LEAD, orjson.dumps(body), dice))


@cache
def _slow(code: str) -> Sequence[bytes]:
    """The largest hostile bodies, a sample of them."""
    made = [body for _, body in hostile_bodies({"affiliate_url": example(code)})]
    return made[:: len(made) // _SAMPLES or 1]


@cache
def _odd(code: str) -> Sequence[bytes]:
    return list(bodies(example(code)))


@cache
def _shapes(code: str) -> Sequence[bytes]:
    return [shape.raw for shape in shapes(PATH, _click(code))]


@cache
def _bomb() -> bytes:
    return gzip.compress(bytes(16 * BYTES))
