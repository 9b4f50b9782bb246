"""What is kept under a key, and its bytes.

    0         1      2       3            11       15
    +---------+------+-------+------------+--------+-----------+------ - - -
    | version | kind | flags | generation | length | header    | body
    +---------+------+-------+------------+--------+-----------+------ - - -
        1        1       1         8          4      `length`     the rest

    kind `E`  an entry: a response, complete; its header begins with how long the body is, in four
              bytes, so that one that was cut is none
    kind `V`  a signpost: the resource varies; which fields select, and, as its body, the instant
              until which all variants are stale
    kind `R`  a refusal: the last response could not be stored, so nobody is to wait for the next

What scripts on the server read or write stands at a fixed place; all else is MessagePack in the
header. A variant is valid only under a signpost of its own generation, so that forgetting the
signpost forgets all variants. Bytes that are not exactly this are `UnreadableEntry`: a miss.

Times are microseconds on the fleet's clock, spans are seconds.
"""

from dataclasses import dataclass
from math import isfinite
from typing import TypeAlias

import msgspec

from cachemw.caching.compression import Compression, compressed, decompressed
from cachemw.caching.freshness import Lifetime, current_age
from cachemw.caching.reasons import Reason
from cachemw.errors import UnreadableEntry
from cachemw.messages import Headers, ResponseHead

VERSION = 1
FIXED = 15
SIZE = 4
SOFT = 1  # flag: marked stale by a purge of its URL; others say how the body is compressed
NO_GENERATION = bytes(8)
NAMED = 200

_ENTRY, _SIGNPOST, _REFUSAL = b"EVR"


class EntryHeader(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """Everything about a response but its body."""

    status: int
    headers: Headers
    born: int
    """When its making began: what was purged later than this is not in it."""
    received: int
    """When its head arrived."""
    initial_age: float
    fresh: float
    stale_while_revalidate: float
    stale_if_error: float
    may_be_stale: bool
    immutable: bool
    tags: tuple[bytes, ...]
    took: float
    """How long the app needed for it."""
    has_own_etag: bool
    """Whether the app can be asked about its ETag; ours means nothing to it."""
    has_own_lifetime: bool = True
    """Whether Cache-Control is the app's; ours is meant for clients, and says nothing to us."""
    target: bytes = b""
    """What was asked for, cut to `NAMED` bytes: for people who look at it, and nothing else."""


@dataclass(frozen=True)
class Entry:
    """A stored response, and how it may be used."""

    header: EntryHeader
    body: bytes
    is_soft: bool = False
    generation: bytes = NO_GENERATION

    @property
    def head(self) -> ResponseHead:
        return ResponseHead(self.header.status, self.header.headers)

    @property
    def lifetime(self) -> Lifetime:
        header = self.header
        return Lifetime(
            fresh=header.fresh,
            stale_while_revalidate=header.stale_while_revalidate,
            stale_if_error=header.stale_if_error,
            may_be_stale=header.may_be_stale,
            immutable=header.immutable,
        )

    def age(self, now: int) -> float:
        return current_age(
            self.header.initial_age, received=self.header.received / 1e6, now=now / 1e6
        )


@dataclass(frozen=True, slots=True)
class Signpost:
    """Stands in the place of an entry whose resource varies."""

    fields: tuple[bytes, ...]
    generation: bytes
    softened: int = 0
    """Variants born until this instant are stale, by a soft purge of the URL."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Stands in the place of an entry that could not be stored."""

    reason: Reason


Record: TypeAlias = Entry | Signpost | Refusal

_encode = msgspec.msgpack.Encoder().encode
_decode_entry = msgspec.msgpack.Decoder(EntryHeader).decode
_decode_fields = msgspec.msgpack.Decoder(tuple[bytes, ...]).decode
_decode_reason = msgspec.msgpack.Decoder(str).decode


def pack(record: Record, compress: Compression | None = None) -> bytes:
    """The bytes of a record."""
    match record:
        case Entry(header, body, is_soft, generation):
            flags, body = compressed(body, compress)
            flags |= SOFT if is_soft else 0
            known = len(body).to_bytes(SIZE, "big") + _encode(header)
            return _assembled(_ENTRY, flags, generation, known, body)
        case Signpost(fields, generation, softened):
            since = b"%d" % softened if softened else b""
            return _assembled(_SIGNPOST, 0, generation, _encode(fields), since)
        case _:
            return _assembled(_REFUSAL, 0, NO_GENERATION, _encode(record.reason.value), b"")


def unpack(stored: bytes, *, is_whole: bool = True) -> Record:
    """The record that bytes stand for; `UnreadableEntry` if they are not such bytes."""
    if len(stored) < FIXED or stored[0] != VERSION:
        raise UnreadableEntry(f"not a record of version {VERSION}")
    kind, flags, generation = stored[1], stored[2], stored[3:11]
    end = FIXED + int.from_bytes(stored[11:15], "big")
    if end > len(stored):
        raise UnreadableEntry("the header is cut off")
    header, body = stored[FIXED:end], stored[end:]
    try:
        if kind == _ENTRY:
            if is_whole and len(body) != int.from_bytes(header[:SIZE], "big"):
                raise UnreadableEntry("the body is not as long as it was")
            known = _checked(_decode_entry(header[SIZE:]))
            return Entry(known, decompressed(flags, body), bool(flags & SOFT), generation)
        if kind == _SIGNPOST:
            return Signpost(_decode_fields(header), generation, int(body[:20] or b"0"))
        if kind == _REFUSAL:
            return Refusal(Reason(_decode_reason(header)))
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise UnreadableEntry(str(error)) from error
    raise UnreadableEntry(f"no such kind of record: {kind}")


def unpack_beginning(stored: bytes) -> Record:
    """The record of which these are the first bytes; its body is as stored, as far as it goes.
    `UnreadableEntry` if the header is not among them."""
    plain = stored[:2] + bytes(flags & SOFT for flags in stored[2:3]) + stored[3:]
    return unpack(plain, is_whole=False)


def is_entry(stored: bytes | None) -> bool:
    """Whether readable bytes are those of an entry."""
    return stored is not None and stored[1] == _ENTRY


def lead_of(stored: bytes) -> bytes:
    """An entry's bytes up to its body. They say all about it but the body."""
    return stored[: FIXED + int.from_bytes(stored[11:15], "big")]


def _checked(header: EntryHeader) -> EntryHeader:
    """The header, if its numbers are such as can be counted with and sent."""
    spans = (header.initial_age, header.fresh, header.stale_while_revalidate)
    are_finite = all(map(isfinite, (*spans, header.stale_if_error, header.took)))
    if not are_finite or not 200 <= header.status <= 599:
        raise ValueError("a status or a span that no response has")
    return header


def _assembled(kind: int, flags: int, generation: bytes, header: bytes, body: bytes) -> bytes:
    fixed = bytes((VERSION, kind, flags)) + generation + len(header).to_bytes(4, "big")
    return b"".join((fixed, header, body))
