"""How an event is encoded in the stream: a JSON object with short keys.

A key is absent where a field has its default, so that an operator can read an entry and Redis
holds few bytes of it. Version 1, one flat object, is decoded as well: see `version_1`. Version 3
is version 2 with a trace context, version 4 that of a refund: a former release leaves them to a
worker that knows them.
"""

from hashlib import blake2b
from typing import Final
from uuid import UUID

import msgspec
from msgspec.structs import asdict

from ingest.contracts.encoding import version_1
from ingest.contracts.envelope import (
    NO_PROPERTIES,
    NO_TARGET,
    PARTS,
    PLAIN_VERSION,
    Envelope,
    Kind,
    Request,
    Target,
)

#: The latest version that this release reads.
VERSION: Final = 4
#: Of an event with a trace context, and of a refund, with or without one.
_TRACED_VERSION: Final = 3
_REFUND_VERSION: Final = 4


class _SaidRequest(
    msgspec.Struct,
    frozen=True,
    gc=False,
    rename={"dialect": "d", "workspace_id": "w", "api_key_hashes": "h", "is_test": "x"},
):
    dialect: str
    workspace_id: UUID | None = None
    api_key_hashes: tuple[str, ...] = ()
    is_test: bool = False


class _SaidTarget(
    msgspec.Struct, frozen=True, gc=False, rename={"link_id": "l", "code": "c"}
):
    link_id: UUID | None = None
    code: str | None = None


class Outline(
    msgspec.Struct,
    frozen=True,
    gc=False,
    rename={"version": "v", "id": "i", "kind": "k", "request": "r", "target": "l"},
):
    """Of an encoded event, what tells it from events that somebody looks for."""

    version: int
    id: UUID
    kind: str
    request: _SaidRequest
    target: _SaidTarget = _SaidTarget()


class Undecodable(Exception):
    """These bytes are no envelope: a data fault of this one entry."""


class NewerVersion(Exception):
    """An envelope of a later release: leave it to a worker that knows it."""


class _Version(msgspec.Struct):
    """What every release's envelope has."""

    v: int


class _Claim(msgspec.Struct, rename={"request": "r", "target": "l"}):
    """Of an envelope, what makes it one event with others."""

    request: Request
    target: Target = NO_TARGET


_CLAIMS: Final = msgspec.json.Decoder(_Claim)
_ENCODER: Final = msgspec.json.Encoder(uuid_format="hex")
_DECODER: Final = msgspec.json.Decoder(Envelope)
_OUTLINES: Final = msgspec.json.Decoder(Outline)
_VERSIONS: Final = msgspec.json.Decoder(_Version)

#: To copy it takes less than to make one.
_DIGEST: Final = blake2b(digest_size=8)

#: What decoding raises: no JSON, not of this shape, no UTF-8, too deep.
_MALFORMED: Final = (msgspec.DecodeError, ValueError, RecursionError)

#: How a dedupe key begins.
_DEDUPE: Final = b'"r":["'

#: How JSON writes a NUL, which no column of text takes. It may be half of something else.
_NUL: Final = b"\\u0000"
#: Without it there is none, and a single byte is looked for much faster.
_ESCAPE: Final = ord("\\")


#: The beginnings of an envelope: a plain one, one with a trace context, a refund.
PLAIN: Final = b'{"v":%d' % PLAIN_VERSION
TRACED: Final = b'{"v":%d' % _TRACED_VERSION
REFUND: Final = b'{"v":%d' % _REFUND_VERSION


def encode(envelope: Envelope) -> bytes:
    """The envelope's bytes; raises nothing for storable values."""
    raw = _ENCODER.encode(envelope)
    if envelope.kind is Kind.REFUND:
        return REFUND + raw[len(PLAIN) :]
    return raw if envelope.traceparent is None else TRACED + raw[len(PLAIN) :]


def claim_of(payload: bytes) -> tuple[Request, Target] | None:
    """What makes an encoded event one with others; None for most, which have no dedupe key."""
    try:
        found = _CLAIMS.decode(payload) if _DEDUPE in payload else None
    except _MALFORMED:
        return None  # of an earlier version
    return (found.request, found.target) if found else None


def outline(payload: bytes) -> Outline | None:
    """What an encoded event names, in half of the time that decoding takes.

    None for a later version, and for what is no envelope. What has an outline may still be
    undecodable.
    """
    try:
        found = _outlined(payload)
    except _MALFORMED:
        return None
    return found if found.version <= VERSION else None


def _outlined(payload: bytes) -> Outline:
    try:
        return _OUTLINES.decode(payload)
    except msgspec.ValidationError:
        if _version(payload) == version_1.VERSION:
            return _OUTLINES.decode(version_1.upgraded(payload))
        raise


def decode(raw: bytes) -> Envelope:
    """The envelope of some bytes; raises Undecodable or NewerVersion, nothing else."""
    try:
        envelope = _decoded(raw)
        _check(envelope.details.properties)
    except _MALFORMED as error:
        if is_newer(raw):
            raise NewerVersion from error
        raise Undecodable(str(error)) from error
    if _ESCAPE in raw and _NUL in raw:
        _refuse_nul(envelope)
    return envelope


def is_newer(raw: bytes) -> bool:
    """Whether these bytes are an envelope of a later release."""
    return _version(raw) > VERSION


def digest(raw: bytes) -> int:
    """63 bits of the encoded bytes: breaks ties between attempts under one id."""
    hashing = _DIGEST.copy()
    hashing.update(raw)
    return int.from_bytes(hashing.digest()) >> 1


def _decoded(raw: bytes) -> Envelope:
    try:
        return _DECODER.decode(raw)
    except msgspec.ValidationError:
        if raw.startswith((TRACED, REFUND)):
            return _DECODER.decode(PLAIN + raw[len(TRACED) :])
        if _version(raw) == version_1.VERSION:
            return _DECODER.decode(version_1.upgraded(raw))
        raise


def _version(raw: bytes) -> int:
    """The version that some bytes name; 0 where they are no envelope of any release."""
    try:
        return _VERSIONS.decode(raw).v
    except _MALFORMED:
        return 0


def _check(properties: msgspec.Raw) -> None:
    """Raise ValueError for what the decoder does not check: other values, no UTF-8."""
    if properties is not NO_PROPERTIES and str(properties, "utf-8")[0] != "{":
        raise ValueError("properties: expected an object")


def _refuse_nul(envelope: Envelope) -> None:
    for name in PARTS:
        for field, value in asdict(getattr(envelope, name)).items():
            texts = value if isinstance(value, tuple) else (value,)
            if any(isinstance(text, str) and "\0" in text for text in texts):
                raise Undecodable(f"{field}: expected a text without NUL")
