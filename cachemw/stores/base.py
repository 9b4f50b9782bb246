"""The store contract: seven verbs that the cache, the limiter and the sessions are built from.

    get_many    read values, each proven to belong to its key
    set         write one value with an expiry
    delete      forget keys
    run         one atomic script over keys that share a hash tag
    time        the fleet's clock, exact, one trip
    now         the same clock, estimated, no trip
    scan        walk over keys by a pattern

What every implementation keeps (`cachemw.testing.check_store` is this text as a program):

*Eager.* A verb starts at the call, not at the `await`: verbs called one after another without an
await in between travel together, in one write. They may be carried out in any order when one of
them is large (128 KiB or more); await it before the next that depends on it.

*Bounded.* A verb ends within the store's deadline, large ones within five times that, with its
result or with `StoreUnavailable`, which is the only exception. After that exception nobody knows
whether the step was carried out. No verb is ever sent a second time on its own account.

*Cancellable.* Whoever stops waiting disturbs nobody else; the step itself may still happen.

*Proven.* A value leaves `get_many` only when it carries the mark of the key it was asked under, and
a script's reply only when it echoes the nonce of its call. A stranger's reply answers nobody.

*Expiring.* Whatever is written has an expiry, in milliseconds, on the store's clock.

*One clock.* `time` never repeats and never runs backwards, for all processes of a fleet together,
even when a server's clock jumps or another server takes over (`lua/time.lua` says how).

Keys and values are bytes. Keys are the feature's own; the store adds its prefix.
"""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterable, Sequence
from functools import cached_property, lru_cache, partial
from hashlib import blake2b
from typing import Generic, TypeVar

from cachemw.errors import ConfigurationError, StoreUnavailable
from cachemw.scripts import SEAL, Reply, Script
from cachemw.telemetry.tally import Tally

T = TypeVar("T")
LONGEST = 1 << 53  # milliseconds: more is refused by servers, and reached by nobody


class Store(ABC):
    """Where the fleet keeps what it shares. See the module's text for what each verb promises."""

    is_of_one_process = False
    """Whether other processes have one of their own, and see nothing of this."""

    @abstractmethod
    def get_many(self, keys: Sequence[bytes]) -> Awaitable[list[bytes | None]]:
        """The values of `keys`, None for each that is absent, expired, foreign or corrupt.

        Each value is current as of some moment after the call; together they are no snapshot.
        """

    def reader(self, keys: Sequence[bytes]) -> Callable[[], Awaitable[list[bytes | None]]]:
        """`get_many`, for keys that are read often: each call of the result reads them once."""
        return lambda: self.get_many(keys)

    def at_hand(self, keys: Sequence[bytes]) -> list[bytes | None] | None:
        """What `get_many` would give, where that takes no trip; None where it does."""
        return None

    @abstractmethod
    def set(self, key: bytes, value: bytes, *, ttl: int) -> Awaitable[None]:
        """Write `value`, whatever was there before; it is gone after `ttl` milliseconds.

        A `ttl` below 1 counts as 1: what has come to its end must not stay, nor fail.
        """

    @abstractmethod
    def delete(self, keys: Sequence[bytes]) -> Awaitable[int]:
        """Forget `keys`, and say how many there were. Keys with one hash tag go together."""

    @abstractmethod
    def run(self, script: Script, keys: Sequence[bytes], args: Sequence[bytes]) -> Awaitable[Reply]:
        """Run `script` as one indivisible step. `keys` is not empty and shares one hash tag.

        A value that `get_many` is to read later must be written `sealed`, and one that was
        written by `set` begins with its mark (`scripts.SEAL` bytes) when a script reads it.

        A `dated` script finds in front of its arguments what `time` says after the call. On a
        cluster that is a trip of its own before the script's, each within the deadline: await it
        before the next verb that depends on it.
        """

    def prepare(
        self, script: Script, keys: Sequence[bytes], args: Sequence[bytes]
    ) -> Callable[[], Awaitable[Reply]]:
        """`run`, for a step that is taken often: each call of the result takes it once."""
        return partial(self.run, script, keys, args)

    @abstractmethod
    def time(self) -> Awaitable[int]:
        """Microseconds since the epoch, unique and ever-increasing over the whole fleet."""

    @abstractmethod
    def now(self) -> int:
        """What `time` would say about now, in microseconds, without asking.

        Good for ages and lifetimes; never for deciding what a purge covers.
        """

    @abstractmethod
    def scan(self, pattern: bytes) -> AsyncIterator[list[bytes]]:
        """Keys that match a glob pattern, in batches; each key that stays is seen, maybe twice."""

    @abstractmethod
    def sealed(self, key: bytes, value: bytes) -> bytes:
        """`value` in the form in which this store keeps it under `key`: the mark, then itself."""

    @abstractmethod
    async def open(self) -> None:
        """Connect and check the server. Never fails because the server is away: it warns."""

    @abstractmethod
    async def aclose(self) -> None:
        """Let go of this event loop's connections. From then on verbs raise `StoreUnavailable`."""

    async def get(self, key: bytes) -> bytes | None:
        """The value of one key. Unlike the verbs it begins when it is awaited."""
        return (await self.get_many((key,)))[0]

    @cached_property
    def tally(self) -> Tally:
        """What has happened in this process to all that uses this store. No verb: it is there."""
        return Tally()


@lru_cache(maxsize=8192)
def mark_of(key: bytes) -> bytes:
    """The digest of a key that every value stored under it begins with."""
    return blake2b(key, digest_size=SEAL).digest()


def seal(key: bytes, value: bytes) -> bytes:
    """`value` as it is stored under `key` (the full key, prefix included)."""
    return mark_of(key) + value


def unseal(key: bytes, stored: bytes) -> bytes | None:
    """The value inside `stored`, or None when it was not sealed under `key`."""
    return stored[SEAL:] if stored[:SEAL] == mark_of(key) else None


def lifetime(ttl: int) -> int:
    """A time to live that every server accepts."""
    return min(max(1, ttl), LONGEST)


def escape_pattern(literal: bytes) -> bytes:
    """`literal` with its glob characters made plain, for use within a `scan` pattern."""
    return b"".join(b"\\" + bytes([c]) if c in b"*?[]\\^-" else bytes([c]) for c in literal)


def hash_tag(key: bytes) -> bytes:
    """The part of a key that decides its cluster slot: within the first `{}` that is not empty."""
    start = key.find(b"{")
    if start >= 0:
        end = key.find(b"}", start + 1)
        if end > start + 1:
            return key[start + 1 : end]
    return key


def demand_one_slot(script: Script, keys: Sequence[bytes]) -> None:
    """Refuse, on every store alike, what only a cluster would refuse."""
    if not keys:
        raise ConfigurationError(f"script {script.name!r} was run without keys")
    if len(keys) > 1 and len(set(map(hash_tag, keys))) > 1:
        raise ConfigurationError(
            f"script {script.name!r} got keys of different slots: {keys!r}; give them one {{tag}}"
        )


class Done(Generic[T]):
    """A verb that has ended at the call, with its result or a failure."""

    __slots__ = ("_failure", "_result")

    def __init__(self, *result: T, failure: StoreUnavailable | None = None) -> None:
        self._result = result
        self._failure = failure

    def __await__(self) -> Generator[None, None, T]:
        if self._failure is not None:
            raise self._failure
        return self._result[0]
        yield  # makes this a generator, one that never pauses


async def together(awaitables: Iterable[Awaitable[T]]) -> list[T]:
    """The results of verbs already begun, each awaited even when one of them fails."""
    results: list[T] = []
    failure: BaseException | None = None
    for awaitable in awaitables:
        try:
            results.append(await awaitable)
        except Exception as error:
            failure = failure or error
    if failure is not None:
        raise failure
    return results
