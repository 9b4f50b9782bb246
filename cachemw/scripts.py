"""Atomic steps, written twice: in Lua for a server, in Python for the memory store.

A `Script` is a value. The feature that needs an atomic step owns it: the Lua in a named file that
opens with why it must be atomic, and beside it the *twin*, a plain function over a `Keyspace` that
does the same to the memory store. A test runs both against each other. This file knows of neither
feature nor server.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Protocol, TypeAlias

Reply: TypeAlias = "int | bytes | list[Reply] | None"
Twin: TypeAlias = "Callable[[Keyspace, Sequence[bytes], Sequence[bytes]], Reply]"


SEAL = 8
"""How many bytes of key digest every value that a store's `get_many` reads begins with."""


class Keyspace(Protocol):
    """What a twin may do: the Redis commands our scripts use, on one process's memory.

    Each does what the command beside it does, errors included: a key of the other kind (string or
    hash) raises `WrongType`, as the server answers WRONGTYPE, and it is for the script to decide
    what to do about that. Times to live are milliseconds. One difference cannot be had away: in the
    last millisecond of a key, PTTL may say 0 on a server, never here.

    `hset` makes a hash without an expiry, as HSET does. A script must `expire` it before it ends.
    """

    def time(self) -> int: ...  # TIME, as one number of microseconds
    def get(self, key: bytes) -> bytes | None: ...
    def set(self, key: bytes, value: bytes, ttl: int) -> None: ...  # SET PX
    def replace(self, key: bytes, value: bytes) -> None: ...  # SET XX KEEPTTL
    def delete(self, key: bytes) -> int: ...
    def exists(self, key: bytes) -> bool: ...
    def expire(self, key: bytes, ttl: int) -> bool: ...  # PEXPIRE: 0 or less deletes
    def ttl(self, key: bytes) -> int: ...  # PTTL: -2 no key, -1 no expiry
    def hget(self, key: bytes, field: bytes) -> bytes | None: ...
    def hgetall(self, key: bytes) -> dict[bytes, bytes]: ...
    def hset(self, key: bytes, fields: dict[bytes, bytes]) -> None: ...
    def hdel(self, key: bytes, fields: Sequence[bytes]) -> int: ...
    def hlen(self, key: bytes) -> int: ...


class WrongType(Exception):
    """The key holds the other kind of value."""


def text_at(keyspace: Keyspace, key: bytes) -> bytes:
    """The string under a key; empty when there is none, or something else."""
    try:
        return keyspace.get(key) or b""
    except WrongType:
        return b""


def hash_at(keyspace: Keyspace, key: bytes) -> dict[bytes, bytes]:
    """The hash under a key. What is something else is not ours: it goes, and there is none."""
    try:
        return keyspace.hgetall(key)
    except WrongType:
        keyspace.delete(key)
        return {}


def prolong(keyspace: Keyspace, key: bytes, lives: int) -> None:
    """Let a key live for so many milliseconds at least."""
    if keyspace.ttl(key) < lives:
        keyspace.expire(key, lives)


@dataclass(frozen=True, slots=True, eq=False)
class Script:
    """One atomic step. All keys of a run must share one hash tag, so that a cluster accepts it."""

    name: str
    lua: str
    twin: Twin
    dated: bool = False
    """Whether a store puts a reading of the fleet's clock in front of its arguments."""

    @classmethod
    def load(cls, package: str, name: str, twin: Twin, *, dated: bool = False) -> "Script":
        """The script whose Lua is `<package>/lua/<name>.lua`."""
        lua = files(package).joinpath("lua", f"{name}.lua").read_text("utf-8")
        return cls(name, lua, twin, dated)
