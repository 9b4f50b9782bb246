"""The commands we send, and how each reads its reply.

A job is a packed command with a future. It takes a reply only when the reply can be its own: a
value by the mark of its key, a script's by the echo of its nonce, a write's by its exact word.
Anything else is `Desync`, and the lane drops the connection. What a server refuses is told apart
here once: refused for good (`StoreUnavailable`), or to be sent somewhere else, which is safe
because a refused command was not carried out.
"""

import asyncio
import itertools
import os
from collections.abc import Callable, Sequence
from hashlib import sha1
from typing import Any, Generic, TypeVar

import hiredis

from cachemw.errors import StoreUnavailable
from cachemw.scripts import Reply, Script
from cachemw.stores.base import unseal
from cachemw.stores.lane import Desync, packed

T = TypeVar("T")
LARGE = 128 * 1024  # commands of this size or more travel beside the lane
HOPS = 10  # how often a job may be sent on, while a cluster rearranges itself

Reroute = Callable[["Command[Any]", str], bool]


class Command(Generic[T]):
    """A command about `key` and a future for what it comes to."""

    __slots__ = ("command", "future", "hops", "is_large", "key", "reroute")

    def __init__(self, key: bytes, command: bytes, *, is_large: bool | None = None) -> None:
        self.key = key
        self.command = command
        self.is_large = len(command) >= LARGE if is_large is None else is_large
        self.hops = 0
        self.reroute: Reroute | None = None
        self.future: asyncio.Future[T] = asyncio.get_running_loop().create_future()

    def accept(self, reply: Any) -> None:
        """Take the reply. When it raises `Desync`, nobody has been given anything of it."""
        if isinstance(reply, hiredis.ReplyError):
            self.refused(str(reply))
        else:
            self.resolve(self.read(reply))

    def read(self, reply: Any) -> T:
        """What the reply comes to, or `Desync`."""
        raise NotImplementedError

    def refused(self, text: str) -> None:
        self.hops += 1
        is_sent_on = self.hops < HOPS and self.reroute is not None and self.reroute(self, text)
        if not is_sent_on:
            self.fail(StoreUnavailable("refused", text))

    def resolve(self, result: T) -> None:
        if not self.future.done():  # its waiter may have left
            self.future.set_result(result)

    def fail(self, error: StoreUnavailable) -> None:
        if not self.future.done():
            self.future.set_exception(error)
            self.future.exception()  # a verb nobody awaits any more is not worth a warning


class Read(Command[list[bytes | None]]):
    """Values of keys. On a single server it travels within the turn's common MGET."""

    __slots__ = ("keys", "note_large")

    def __init__(self, keys: Sequence[bytes], note_large: Callable[[bytes], None], large: bool):
        super().__init__(keys[0], b"", is_large=large)
        self.keys = keys
        self.note_large = note_large

    def pack(self) -> "Read":
        """Make it a command of its own."""
        self.command = packed(("MGET", *self.keys))
        return self

    def accept(self, reply: Any) -> None:
        if isinstance(reply, hiredis.ReplyError):
            self.refused(str(reply))
            return
        if not isinstance(reply, list) or len(reply) != len(self.keys):
            raise Desync("an MGET of another length")
        values = [self._proven(key, stored) for key, stored in zip(self.keys, reply, strict=True)]
        self.resolve(values)
        if values.count(None) != reply.count(None):
            # Corrupt at rest, or the answer to another question: from here both look the same. The
            # reader has a miss, and will write something better; the connection is not trusted on.
            raise Desync(f"a value that does not belong to any of {list(self.keys)!r}")

    def _proven(self, key: bytes, stored: Any) -> bytes | None:
        if not isinstance(stored, bytes):
            return None
        if len(stored) >= LARGE:
            self.note_large(key)
        return unseal(key, stored)


class Write(Command[None]):
    """SET, which answers OK and nothing else."""

    def __init__(self, key: bytes, stored: bytes, ttl: int) -> None:
        super().__init__(key, packed(("SET", key, stored, "PX", max(1, ttl))))

    def read(self, reply: Any) -> None:
        if reply != b"OK":
            raise Desync("a SET that was not answered OK")


class Delete(Command[int]):
    """UNLINK of keys of one slot, or of any keys on a single server."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        super().__init__(keys[0], packed(("UNLINK", *keys)))

    def read(self, reply: Any) -> int:
        if not isinstance(reply, int):
            raise Desync("an UNLINK that was not answered by a number")
        return reply


class Raw(Command[Any]):
    """Any other command, for scans and for looking at the server."""

    def __init__(self, key: bytes, *parts: bytes | str | int) -> None:
        super().__init__(key, packed(parts))

    def read(self, reply: Any) -> Any:
        return reply


class Run(Command[Reply]):
    """A script by its digest; by its text when the server has not met it yet."""

    __slots__ = ("args", "keys", "nonce", "script")

    _nonces = itertools.count()

    def __init__(self, script: "Wrapped", keys: Sequence[bytes], args: Sequence[bytes]) -> None:
        self.script, self.keys, self.args = script, keys, args
        self.nonce = b"%s-%x" % (_PROCESS, next(self._nonces))
        super().__init__(keys[0], self._spelled("EVALSHA", script.sha))

    def _spelled(self, verb: str, what: str) -> bytes:
        return packed((verb, what, len(self.keys), *self.keys, *self.args, self.nonce))

    def refused(self, text: str) -> None:
        if text.startswith("NOSCRIPT"):
            text = "RESEND"
            self.command = self._spelled("EVAL", self.script.text)
        super().refused(text)

    def read(self, reply: Any) -> Reply:
        if not isinstance(reply, list) or not reply or reply[0] != self.nonce:
            raise Desync(f"the reply of {self.script.name} without its nonce")
        return reply[1] if len(reply) > 1 else None  # Lua drops a trailing nil


class Wrapped:
    """A script as it is sent: its body in a function, its reply behind the nonce of the call."""

    __slots__ = ("name", "sha", "text")

    def __init__(self, script: Script) -> None:
        self.name = script.name
        self.text = (
            "local nonce = table.remove(ARGV)\n"
            f"local function body()\n{script.lua}\nend\n"
            "return {nonce, body()}"
        )
        self.sha = sha1(self.text.encode(), usedforsecurity=False).hexdigest()


_PROCESS = os.urandom(6).hex().encode()
