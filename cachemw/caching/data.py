"""What the data cache keeps under a key: its bytes, and when it may be used.

    0         1      2       3             11        19         23
    +---------+------+-------+-------------+---------+----------+-----------+--------- - - -
    | version | kind | flags | fresh until | spare   | length   | header    | payload
    +---------+------+-------+-------------+---------+----------+-----------+--------- - - -
        1        1       1          8           8         4        `length`     the rest

    kind `E`     an entry
    kind `R`     a refusal: the last result was not kept, so nobody is to wait for the next
    fresh until  an instant on the fleet's clock, in microseconds; `touch` moves it
    spare        for how many milliseconds it is kept after that

What scripts on the server read or write stands at a fixed place; version, kind and flags stand as
in `entry.py`, since one script marks both as stale. The payload is a matter of `values.py`. Bytes
that are not exactly this are `UnreadableEntry`: a miss.
"""

from enum import Enum, auto
from math import isfinite, log

import msgspec
from msgspec import Struct

from cachemw.caching.stamps import Standing
from cachemw.errors import UnreadableEntry

VERSION = 1
FIXED = 23
SOFT = 1  # flag: marked stale by a soft purge of its key

_ENTRY, _REFUSAL = b"ER"


class DataHeader(Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """Everything about a value but itself. Spans are seconds."""

    born: int
    """When its making began, in microseconds; 0 when it has no tags to be purged by."""
    fresh: float
    stale_while_revalidate: float
    stale_if_error: float
    tags: tuple[bytes, ...]
    took: float
    """How long the loader needed for it."""


class DataEntry(Struct, frozen=True):
    """A kept value."""

    header: DataHeader
    payload: bytes
    fresh_until: int
    is_soft: bool = False

    @property
    def spare(self) -> float:
        """How long it is kept when it is no longer fresh, in seconds."""
        return max(self.header.stale_while_revalidate, self.header.stale_if_error)

    def lives(self, now: int) -> int:
        """For how many milliseconds from now it is kept."""
        return (self.fresh_until - now) // 1000 + int(self.spare * 1000)


class DataRefusal(Struct, frozen=True):
    """Stands in the place of a value that was not kept."""


class Use(Enum):
    """What an entry is good for."""

    FRESH = auto()
    DUE = auto()  # fresh, and to be made anew behind
    STALE = auto()  # to be used once more, and made anew behind
    SPARE = auto()  # in place of an error
    NONE = auto()


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(DataHeader).decode

REFUSAL = bytes((VERSION, _REFUSAL)) + bytes(FIXED - 2)


def pack(entry: DataEntry) -> bytes:
    """The bytes of an entry."""
    header = _encode(entry.header)
    return b"".join(
        (
            bytes((VERSION, _ENTRY, SOFT if entry.is_soft else 0)),
            entry.fresh_until.to_bytes(8, "big"),
            int(entry.spare * 1000).to_bytes(8, "big"),
            len(header).to_bytes(4, "big"),
            header,
            entry.payload,
        )
    )


def unpack(stored: bytes) -> DataEntry | DataRefusal:
    """The entry or refusal that bytes stand for; `UnreadableEntry` if they are not such bytes."""
    if stored == REFUSAL:
        return DataRefusal()
    if len(stored) < FIXED or stored[0] != VERSION or stored[1] != _ENTRY:
        raise UnreadableEntry(f"not an entry of version {VERSION}")
    end = FIXED + int.from_bytes(stored[19:23], "big")
    try:
        header = _decode(stored[FIXED:end])
    except msgspec.MsgspecError as error:
        raise UnreadableEntry(str(error)) from error
    spans = (header.fresh, header.stale_while_revalidate, header.stale_if_error, header.took)
    if not all(map(isfinite, spans)):
        raise UnreadableEntry("a span that no value has")
    fresh_until = int.from_bytes(stored[3:11], "big")
    return DataEntry(header, stored[end:], fresh_until, bool(stored[2] & SOFT))


def use_of(
    entry: DataEntry, standing: Standing, now: int, *, refresh_age: float | None, luck: float
) -> Use:
    """What an entry is good for at `now`.

    `refresh_age` is the age at which readers want it made anew, and `luck` a random number in
    (0, 1]: the chance to be due grows towards the end and with what the value took to make
    (XFetch), so that readers of a costly one do not all wait for the same instant.
    """
    if standing is Standing.GONE:
        return Use.NONE
    header = entry.header
    left = (entry.fresh_until - now) / 1e6
    if entry.is_soft or standing is Standing.STALE:
        left = min(left, 0.0)  # purged softly: as if its time had just ended
    if left > 0:
        age = header.fresh - left
        is_late = refresh_age is not None and age >= refresh_age
        is_drawn = refresh_age is not None and -header.took * log(luck) >= left
        return Use.DUE if is_late or is_drawn else Use.FRESH
    if -left < header.stale_while_revalidate:
        return Use.STALE
    return Use.SPARE if -left < header.stale_if_error else Use.NONE
