"""What is kept under a key, and its bytes.

    0         1      2       3        7
    +---------+------+-------+--------+-----------+------ - - -
    | version | kind | flags | length | header    | body
    +---------+------+-------+--------+-----------+------ - - -
        1        1       1       4      `length`     the rest

    kind `E`  an entry: a response, complete
    kind `U`  the same, under a signpost: a variant
    kind `V`  a signpost: the resource varies; which fields select, and, as its body, the instant
              until which all variants are stale
    kind `R`  a refusal: the last response could not be stored, so nobody is to wait for the next

    the header of      `E`              `U`              `V`             `R`
    begins with                         generation (8)   generation (8)
    and                size (4)         size (4)
    and then, packed   an EntryHeader   an EntryHeader   field names     a reason

What scripts on the server read or write stands at a fixed place; all else is MessagePack. A variant
is valid only under a signpost of its own generation, so that forgetting the signpost forgets all
variants. `size` is that of the body, so that one that was cut is none. It also stands for
Content-Length: where the body is kept as it came, that field is left out, and put back by who
reads. Bytes that are not exactly this are `UnreadableEntry`: a miss.

Times are microseconds on the fleet's clock, spans are seconds.
"""

from math import isfinite
from typing import TypeAlias

import msgspec
from msgspec import Struct

from cachemw.caching.compression import ANY, Compression, compressed, decompressed
from cachemw.caching.freshness import Lifetime, current_age
from cachemw.caching.reasons import Reason
from cachemw.errors import UnreadableEntry
from cachemw.messages import Headers, ResponseHead, first_of

VERSION = 2
FIXED = 7
GENERATION = 8
SIZE = 4
SOFT = 1  # flag: marked stale by a purge of its URL; others say how the body is compressed
NAMED = 200
WITHOUT_LENGTH = (204, 304)  # responses that have no Content-Length, or another body's

_ENTRY, _VARIANT, _SIGNPOST, _REFUSAL = b"EUVR"
_LENGTH = b"content-length"


class EntryHeader(Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
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
    has_own_etag: bool
    """Whether the app can be asked about its ETag; ours means nothing to it."""
    has_own_lifetime: bool = True
    """Whether Cache-Control is the app's; ours is meant for clients, and says nothing to us."""
    target: bytes = b""
    """What was asked for, cut to `NAMED` bytes: for people who look at it, and nothing else."""

    @property
    def took(self) -> float:
        """How long the app needed for it."""
        return max(0, self.received - self.born) / 1e6  # of two readings of a clock


class Entry(Struct, frozen=True):
    """A stored response, and how it may be used."""

    header: EntryHeader
    body: bytes
    is_soft: bool = False
    generation: bytes = b""
    """Of the signpost that it stands under, if there is one."""

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


class Signpost(Struct, frozen=True):
    """Stands in the place of an entry whose resource varies."""

    fields: tuple[bytes, ...]
    generation: bytes
    softened: int = 0
    """Variants born until this instant are stale, by a soft purge of the URL."""


class Refusal(Struct, frozen=True):
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
            flags, kept = compressed(body, compress)
            if _tells_length(header, flags):
                header = _without_length(header, len(body))
            known = generation + len(kept).to_bytes(SIZE, "big") + _encode(header)
            kind = _VARIANT if generation else _ENTRY
            return _assembled(kind, flags | SOFT if is_soft else flags, known, kept)
        case Signpost(fields, generation, softened):
            since = b"%d" % softened if softened else b""
            return _assembled(_SIGNPOST, 0, generation + _encode(fields), since)
        case _:
            return _assembled(_REFUSAL, 0, _encode(record.reason.value), b"")


def unpack(stored: bytes, *, is_whole: bool = True) -> Record:
    """The record that bytes stand for; `UnreadableEntry` if they are not such bytes."""
    if len(stored) < FIXED or stored[0] != VERSION:
        raise UnreadableEntry(f"not a record of version {VERSION}")
    kind, flags = stored[1], stored[2]
    end = FIXED + int.from_bytes(stored[3:FIXED], "big")
    if end > len(stored):
        raise UnreadableEntry("the header is cut off")
    start = FIXED + GENERATION if kind in (_VARIANT, _SIGNPOST) else FIXED
    generation, header, body = stored[FIXED:start], stored[start:end], stored[end:]
    try:
        if kind in (_ENTRY, _VARIANT):
            if is_whole and len(body) != int.from_bytes(header[:SIZE], "big"):
                raise UnreadableEntry("the body is not as long as it was")
            known = _checked(_decode_entry(header[SIZE:]))
            if is_whole and _tells_length(known, flags):
                known = _with_length(known, len(body))
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
    """Whether readable bytes are those of an entry that stands under no signpost."""
    return stored is not None and stored[1] == _ENTRY


def lead_of(stored: bytes) -> bytes:
    """An entry's bytes up to its body. They say all about it but the body."""
    return stored[: FIXED + int.from_bytes(stored[3:FIXED], "big")]


def _checked(header: EntryHeader) -> EntryHeader:
    """The header, if its numbers are such as can be counted with and sent."""
    spans = (header.initial_age, header.fresh, header.stale_while_revalidate)
    are_finite = all(map(isfinite, (*spans, header.stale_if_error)))
    if not are_finite or not 200 <= header.status <= 599:
        raise ValueError("a status or a span that no response has")
    return header


def _tells_length(header: EntryHeader, flags: int) -> bool:
    """Whether the size of what is kept says what Content-Length would."""
    return not flags & ANY and header.status not in WITHOUT_LENGTH


def _without_length(header: EntryHeader, size: int) -> EntryHeader:
    length = (_LENGTH, b"%d" % size)
    kept = tuple([line for line in header.headers if line != length])
    return msgspec.structs.replace(header, headers=kept)


def _with_length(header: EntryHeader, size: int) -> EntryHeader:
    """The header with the length of its body, which is new to it if the app did not say it."""
    if first_of(header.headers, _LENGTH) is not None:
        return header
    return msgspec.structs.replace(header, headers=((_LENGTH, b"%d" % size), *header.headers))


def _assembled(kind: int, flags: int, header: bytes, body: bytes) -> bytes:
    return b"".join((bytes((VERSION, kind, flags)), len(header).to_bytes(4, "big"), header, body))
