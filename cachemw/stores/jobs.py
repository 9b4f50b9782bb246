"""The commands we send, and how each reads its reply.

A job is a packed command with a future. It takes a reply only when the reply can be its own: a
value by the mark of its key, a script's by the echo of its nonce, a write's by its exact word.
Anything else is `Desync`, and the lane drops the connection. What a server refuses is told apart
here once: refused for good (`StoreUnavailable`), or to be sent somewhere else, which is safe
because a refused command was not carried out.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Sequence
from hashlib import sha1
from typing import Any, Generic, TypeVar, cast

import hiredis

from cachemw.errors import StoreUnavailable
from cachemw.scripts import SEAL, Reply, Script
from cachemw.stores.base import lifetime, mark_of
from cachemw.stores.cargo import FOREIGN, Desync, packed
from cachemw.telemetry.counters import StoreCounts

T = TypeVar("T")
LARGE = 128 * 1024  # commands and values of this size or more travel beside the lane
LONG = 16 * 1024  # values of this size or more are read by a command of their own
WIDE = 1000  # likewise reads of more keys
HOPS = 10  # how often a job may be sent on, while a cluster rearranges itself
_NO_NONCE = b"$0\r\n\r\n"
RESEND = "RESEND"  # our own refusal: the same server, please, with another command

Reroute = Callable[["Command[Any]", str], bool]


class Command(Generic[T]):
    """A command about `key` and a future for what it comes to."""

    callers = 1
    __slots__ = ("born", "command", "counts", "future", "hops", "is_large", "key", "reroute")

    def __init__(self, key: bytes, command: bytes, *, is_large: bool | None = None) -> None:
        self.key = key
        self.command = command
        self.is_large = len(command) >= LARGE if is_large is None else is_large
        self.hops = 0
        self.reroute: Reroute | None = None
        self.counts: StoreCounts | None = None
        loop = asyncio.get_running_loop()
        self.born = loop.time()
        self.future: asyncio.Future[T] = loop.create_future()

    def accept(self, reply: Any) -> None:
        """Take the reply. When it raises `Desync`, nobody has been given anything of it."""
        if isinstance(reply, hiredis.ReplyError):
            self.refused(str(reply))
        else:
            self.resolve(self.read(reply))

    def read(self, reply: Any) -> T:
        """What the reply comes to, or `Desync`."""
        raise NotImplementedError

    @property
    def is_late(self) -> bool:
        """Whether its waiter has heard that it failed: then it is not to be sent anywhere."""
        return self.future.done() and not self.future.cancelled()

    def refused(self, text: str) -> None:
        if self.is_late:
            return
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
            if self.counts is not None:
                self.counts.failed(error.reason)

    def bound(self, deadline: float) -> None:
        """Fail within the deadline, counted from the call, wherever this is sent on to. Each lane
        it comes to has a deadline of its own; this one is the caller's."""
        late = StoreUnavailable(
            "timeout", f"sent on, and no answer within {deadline * 1000:.0f} ms"
        )
        asyncio.get_running_loop().call_at(self.born + deadline, self.fail, late)

    def note_long(self) -> None:
        """Only of a read is there something to learn from that."""


class Read(Command[list[bytes | None]]):
    """Values of keys. On a single server it travels within the turn's common MGET."""

    __slots__ = ("is_alone", "keys", "recall")

    def __init__(self, keys: Sequence[bytes], recall: "Recall") -> None:
        longest = recall.longest(keys) if recall.sizes else 0
        # Who reads a long value has it when it is here, not when those of all others are.
        self.is_alone = longest >= LONG
        self.keys = keys
        self.recall = recall
        # As `Command` has it, without a call more: this is on the way of every hit.
        self.key, self.command = keys[0], b""
        self.is_large = longest >= LARGE or len(keys) > WIDE
        self.hops, self.reroute, self.counts = 0, None, None
        loop = asyncio.get_running_loop()
        self.born, self.future = loop.time(), loop.create_future()

    def pack(self) -> "Read":
        """Make it a command of its own."""
        self.command = packed(("MGET", *self.keys))
        return self

    def accept(self, reply: Any) -> None:
        if isinstance(reply, hiredis.ReplyError):
            self.refused(str(reply))
            return
        found: list[Any] = reply
        if not isinstance(reply, list) or len(found) != len(self.keys):
            raise Desync("an MGET of another length")
        values, is_doubtful = self.proven(self.keys, found)
        self.resolve(values)
        if is_doubtful:
            raise Desync(FOREIGN)

    def proven(
        self, keys: Sequence[bytes], found: Sequence[Any]
    ) -> tuple[list[bytes | None], bool]:
        # Corrupt at rest, or the answer to another question: the first time both look the same. The
        # reader has a miss either way; the connection is not trusted on.
        values: list[bytes | None] = []
        is_doubtful, recall = False, self.recall
        knows_long = bool(recall.sizes)
        for key, stored in zip(keys, found, strict=True):
            if stored is None:
                values.append(None)
            elif stored.startswith(mark_of(key)):
                values.append(stored[SEAL:])
                if knows_long or len(stored) >= LONG:
                    recall.note_size(key, len(stored))
            else:
                values.append(None)
                is_doubtful = not recall.is_old_garbage(key, stored) or is_doubtful
        return values, is_doubtful

    def note_long(self) -> None:
        # Which of them it is, nobody knows yet. The next read goes beside and finds out.
        for key in self.keys:
            self.recall.note_size(key, LARGE)


class Write(Command[None]):
    """SET, which answers OK and nothing else."""

    __slots__ = ()

    def __init__(self, key: bytes, stored: bytes, ttl: int) -> None:
        super().__init__(key, packed(("SET", key, stored, "PX", lifetime(ttl))))

    def read(self, reply: Any) -> None:
        if reply != b"OK":
            raise Desync("a SET that was not answered OK")


class Delete(Command[int]):
    """UNLINK of keys of one slot, or of any keys on a single server."""

    __slots__ = ()

    def __init__(self, keys: Sequence[bytes]) -> None:
        super().__init__(keys[0], packed(("UNLINK", *keys)))

    def read(self, reply: Any) -> int:
        if not isinstance(reply, int):
            raise Desync("an UNLINK that was not answered by a number")
        return reply


class Scan(Command[tuple[bytes, list[bytes]]]):
    """One step of a walk over the keys that begin with a prefix."""

    __slots__ = ("prefix",)

    def __init__(self, cursor: bytes, prefix: bytes, match: bytes, count: int) -> None:
        super().__init__(b"", packed(("SCAN", cursor, "MATCH", match, "COUNT", count)))
        self.prefix = prefix

    def read(self, reply: Any) -> tuple[bytes, list[bytes]]:
        match reply:
            case [bytes(), list()]:
                cursor, keys = cast("tuple[bytes, list[bytes]]", reply)
            case _:
                raise Desync("a SCAN that was not answered by a cursor and keys")
        if not all(key.startswith(self.prefix) for key in keys):
            raise Desync("a SCAN that found what it was not looking for")
        return cursor, [key[len(self.prefix) :] for key in keys]


class Raw(Command[Any]):
    """Any other command, for looking at a server."""

    __slots__ = ()

    def __init__(self, key: bytes, *parts: bytes | str | int) -> None:
        super().__init__(key, packed(parts))

    def fail(self, error: StoreUnavailable) -> None:
        self.counts = None  # to be refused may be what was to be found out
        super().fail(error)

    def read(self, reply: Any) -> Any:
        return reply


class Run(Command[Reply]):
    """A script by its digest; by its text when the server has not met it yet."""

    __slots__ = ("nonce", "step")

    def __init__(self, step: "Step", nonce: bytes) -> None:
        self.step, self.nonce = step, nonce
        # As `Command` has it, without a call more: this is on the way of every limit and session.
        self.key, self.command = step.keys[0], step.command(nonce)
        self.is_large = len(self.command) >= LARGE
        self.hops, self.reroute, self.counts = 0, None, None
        loop = asyncio.get_running_loop()
        self.born, self.future = loop.time(), loop.create_future()

    def refused(self, text: str) -> None:
        if text.startswith("NOSCRIPT"):
            text = RESEND
            self.command = self.step.spelled_out(self.nonce)
        super().refused(text)

    def accept(self, reply: Any) -> None:
        if isinstance(reply, hiredis.ReplyError):
            self.refused(str(reply))
            return
        parts: list[Any] = reply
        if not isinstance(reply, list) or not 1 <= len(parts) <= 2 or parts[0] != self.nonce:
            raise Desync(f"the reply of {self.step.script.name} without its nonce")
        if len(parts) == 1:  # Lua drops a trailing nil
            self.resolve(None)
        elif isinstance(parts[1], hiredis.ReplyError):  # a pcall's, handed out
            self.fail(StoreUnavailable("refused", str(parts[1])))
        else:
            self.resolve(parts[1])


class Step:
    """A script with its keys and arguments: all of the command but the nonce of a call."""

    __slots__ = ("_beginning", "args", "keys", "script")

    def __init__(self, script: "Wrapped", keys: Sequence[bytes], args: Sequence[bytes]) -> None:
        self.script, self.keys, self.args = script, keys, args
        spelled = packed(("EVALSHA", script.sha, len(keys), *keys, *args, b""))
        self._beginning = spelled.removesuffix(_NO_NONCE)

    def command(self, nonce: bytes) -> bytes:
        return b"%b$%d\r\n%b\r\n" % (self._beginning, len(nonce), nonce)

    def spelled_out(self, nonce: bytes) -> bytes:
        """With the script's text, for a server that has not met it yet."""
        keys = self.keys
        return packed(("EVAL", self.script.text, len(keys), *keys, *self.args, nonce))


class Wrapped:
    """A script as it is sent: its body in a function, its reply behind the nonce of the call."""

    __slots__ = ("name", "sha", "text")

    def __init__(self, script: Script) -> None:
        self.name = script.name
        self.text = (
            "local nonce = table.remove(ARGV)\n"
            f"local function body()\n{script.lua}\nend\n"
            "return {nonce, (body())}"
        )
        self.sha = sha1(self.text.encode(), usedforsecurity=False).hexdigest()


class Recall:
    """What a process remembers of some keys: that their values are long, or garbage."""

    def __init__(self, most: int = 4096) -> None:
        self._most = most
        self.sizes: OrderedDict[bytes, int] = OrderedDict()
        """Of long values, as far as met."""
        self._garbage: OrderedDict[bytes, int] = OrderedDict()

    def note_size(self, key: bytes, size: int) -> None:
        if size < LONG:
            self.sizes.pop(key, None)
            return
        self.sizes[key] = size
        if len(self.sizes) > self._most:
            self.sizes.popitem(last=False)

    def longest(self, keys: Sequence[bytes]) -> int:
        """How long a value must be expected to be among those of `keys`."""
        return max([self.sizes.get(key, 0) for key in keys])

    def is_old_garbage(self, key: bytes, stored: bytes) -> bool:
        """Whether the very same was read before, over a connection that was dropped for it.

        Then it is what the key holds, and no fault of the connection.
        """
        digest = hash(stored)
        is_old = self._garbage.get(key) == digest
        self._garbage[key] = digest
        if len(self._garbage) > self._most:
            self._garbage.popitem(last=False)
        return is_old
