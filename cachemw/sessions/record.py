"""How a session is written: one hash, one field for each top-level key.

    field     value
    @         1 <created> <deadline> <login> <renewed> <subject> <handle>      all times in ms
    =<key>    the key's value as JSON, or sealed by a cipher
    @next     instead of all that, for a moment: how the next id follows from this one
    @was      the same, when only requests that were under way already may follow
    @gone     instead of all that, for a moment: a login began another session in this one's place

`login` is 0 and `subject` is `-` while nobody is logged in. The scripts in `lua/` read and write
`@` too and must agree with this file. The store's content is not trusted: what does not read back
exactly is `UnreadableEntry`, which ends as a new session and a count, never as an error.
"""

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Protocol, cast

from msgspec import Struct

from cachemw.errors import UnreadableEntry
from cachemw.scripts import Reply
from cachemw.sessions.errors import SessionTooLarge, UnstorableValue

META = b"@"
NEXT = b"@next"
WAS = b"@was"
GONE = b"@gone"
NOBODY = b"-"
_KEY = b"="
_META = re.compile(rb"1" + rb" ([0-9]{1,14})" * 4 + rb" ([0-9a-f]+|-) ([0-9a-f]+)")
_SCALARS = (str, int, float, bool, type(None))


class Cipher(Protocol):
    """Encryption at rest. `context` is authenticated: a value opens only where it was sealed."""

    @property
    def overhead(self) -> int: ...  # bytes by which sealing makes a value longer

    def seal(self, plain: bytes, context: bytes) -> bytes: ...
    def open(self, sealed: bytes, context: bytes) -> bytes: ...  # ValueError when it does not open


class Record(Struct, frozen=True):
    """A live session as it was read, at `now` on the store's clock."""

    now: int
    created: int
    deadline: int
    login: int
    renewed: int
    subject_digest: bytes | None
    handle: bytes
    raw: Mapping[str, bytes]  # as stored
    plain: Mapping[str, bytes]  # as JSON

    def is_due(self, renew: float) -> bool:
        """Whether its id is `renew` seconds old."""
        return self.now - self.renewed >= renew * 1000

    def __repr__(self) -> str:
        return f"<Record {self.handle.decode()} of {len(self.raw)} keys>"  # not what is in them


def unpack(now: int, pairs: Sequence[Reply], cipher: Cipher | None) -> Record:
    """The record inside the flat field list of a reply."""
    found: bytes = b""
    raw: dict[str, bytes] = {}
    try:
        for name, value in zip(pairs[::2], pairs[1::2], strict=True):
            if not isinstance(name, bytes) or not isinstance(value, bytes):
                raise ValueError("it holds bytes")
            if name == META:
                found = value
            elif name.startswith(_KEY):
                raw[name[1:].decode("utf-8", "surrogatepass")] = value
            else:
                raise ValueError("a field that is no session key")
        meta = _meta_of(found)
        plain = raw if cipher is None else _opened(raw, meta[-1], cipher)
    except ValueError as error:
        raise UnreadableEntry(f"a session record of another format: {error}") from None
    return Record(now, *meta, raw, plain)


@lru_cache(maxsize=4096)
def _meta_of(stored: bytes) -> tuple[int, int, int, int, bytes | None, bytes]:
    """The fields of `Record` that come from one field of the hash, the same until a renewal."""
    meta = _META.fullmatch(stored)
    if meta is None:
        raise ValueError("it begins otherwise")
    created, deadline, login, renewed = map(int, meta.groups()[:4])
    subject_digest = None if meta[5] == NOBODY else meta[5]
    return created, deadline, login, renewed, subject_digest, meta[6]


def pack(
    values: Mapping[str, bytes], *, handle: bytes, cipher: Cipher | None
) -> list[tuple[bytes, bytes]]:
    """Fields for JSON values of a session, ready to be written."""
    pairs: list[tuple[bytes, bytes]] = []
    for key, plain in values.items():
        stored = cipher.seal(plain, handle + field_of(key)) if cipher else plain
        pairs.append((field_of(key), stored))
    return pairs


def field_of(key: str) -> bytes:
    """The field that holds one top-level key."""
    return _KEY + key.encode("utf-8", "surrogatepass")


def dump(key: str, value: object) -> bytes:
    """One value as JSON. Strict: what would come back as something else is refused."""
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        _demand_plain(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise UnstorableValue(
            f"session[{key!r}] cannot be stored: {error}; a session holds what JSON can, "
            "so turn it into strings, numbers, lists or dicts, or use a typed session"
        ) from None
    return text.encode("utf-8", "surrogatepass")


def parse(plain: bytes) -> Any:
    """The value of `dump`. `ValueError` for anything that `dump` would not write."""
    text = plain.decode("utf-8", "surrogatepass")
    try:
        return _DECODER.decode(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def demand_size(values: Mapping[str, bytes], most: int) -> None:
    """Refuse a session whose keys and values together are larger than `most` bytes."""
    size = sum(len(field_of(key)) + len(plain) for key, plain in values.items())
    if size > most:
        largest = max(values, key=lambda key: len(values[key]))
        raise SessionTooLarge(
            f"the session takes {size} bytes, over max_bytes={most}; its largest key is "
            f"{largest!r} ({len(values[largest])} bytes): store that elsewhere, under its own key"
        )


def _demand_plain(value: object) -> None:
    # `json.dumps` has gone through it before: it ends, and holds nothing that holds itself.
    waiting: list[Any] = [value]
    while waiting:
        each = waiting.pop()
        kind: type[Any] = type(each)  # pyright: ignore[reportUnknownVariableType]
        if kind is dict:
            for key in each:
                if type(key) is not str:
                    raise TypeError(f"the key {key!r} of a dict would come back as a string")
            waiting += each.values()
        elif kind is list:
            waiting += each
        elif kind not in _SCALARS:
            raise TypeError(f"{kind.__name__} would come back as something else")


def _opened(raw: Mapping[str, bytes], handle: bytes, cipher: Cipher) -> dict[str, bytes]:
    return {key: cipher.open(value, handle + field_of(key)) for key, value in raw.items()}


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("a number out of range")
    return number


_DECODER = json.JSONDecoder(parse_constant=_no_constant, parse_float=_finite)
scan: Callable[[str, int], tuple[Any, int]] = cast(Any, _DECODER).scan_once
"""The value at a place of a text, and where it ends. `StopIteration` when there is none."""
