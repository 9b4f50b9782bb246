"""A store that misbehaves by a plan: what your app does on bad days, in a test that repeats itself.

    store = ChaosStore(MemoryStore(), seed=7, fail=0.1, lose=0.05, delay=0.1)
    install(app, store=store)
    ...
    assert response.status == 200, store.happened

Each call of a verb meets one mischief, or none, drawn with the seed in the order of the calls; or,
with a `plan`, the one that stands in its place:

    FAIL     nothing is done, and the caller hears `StoreUnavailable`
    LOSE     it is done, and the caller hears `StoreUnavailable`: nobody knows which of the two
    DELAY    the result is late, by up to `late` seconds
    CANCEL   it is done, and whoever waits for it is cancelled, as when a client leaves
    LIE      what is read is not there, although it is: evicted a moment ago, as it were

All of that is what real servers and networks do, and what every feature must bear. `calm()` ends
it, `storm()` begins it again.
"""

import asyncio
import random
from collections import Counter
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Generator,
    Iterable,
    Sequence,
)
from enum import Enum
from typing import Any, TypeVar

from cachemw.errors import StoreUnavailable
from cachemw.scripts import Reply, Script
from cachemw.stores.base import Store

T = TypeVar("T")


class Mischief(Enum):
    """What may happen to one call. `str` of it is its word in a report."""

    NONE = "none"
    FAIL = "fail"
    LOSE = "lose"
    DELAY = "delay"
    CANCEL = "cancel"
    LIE = "lie"

    def __str__(self) -> str:
        return self.value


def at(step: int, mischief: Mischief) -> list[Mischief]:
    """The plan in which all goes well but for one call, the `step`th, counted from 1.

    For every step of a story in turn: `for step in range(1, steps + 1): tell(plan=at(step, FAIL))`.
    """
    return [*[Mischief.NONE] * (step - 1), mischief]


class ChaosStore(Store):
    """`store`, with mischief. `fail`, `lose`, `delay`, `cancel` and `lie` are shares of all calls.

    `steps` counts the calls, `happened` what they met. With a `plan` nothing is random; when it has
    come to its end, all goes well. `sleep` is how a delay passes, for tests that move the time.
    """

    def __init__(
        self,
        store: Store,
        *,
        seed: int = 0,
        fail: float = 0.0,
        lose: float = 0.0,
        delay: float = 0.0,
        cancel: float = 0.0,
        lie: float = 0.0,
        late: float = 0.05,
        plan: Iterable[Mischief] | None = None,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self.store = store
        self.steps = 0
        self.happened: Counter[str] = Counter()
        self._chance = random.Random(seed)
        shares = {
            Mischief.FAIL: fail,
            Mischief.LOSE: lose,
            Mischief.DELAY: delay,
            Mischief.CANCEL: cancel,
            Mischief.LIE: lie,
        }
        if min(shares.values()) < 0 or sum(shares.values()) > 1:
            raise ValueError("the shares of mischief are between 0 and 1, and 1 at most together")
        self._kinds = [*shares, Mischief.NONE]
        self._weights = [*shares.values(), 1 - sum(shares.values())]
        self._plan = None if plan is None else iter(plan)
        self._late = late
        self._sleep = sleep
        self._is_calm = False

    def __repr__(self) -> str:
        met = ", ".join(f"{number} {kind}" for kind, number in self.happened.items())
        return f"<ChaosStore {self.steps} steps: {met or 'nothing'}, of {self.store!r}>"

    def calm(self) -> None:
        """From now on all goes well."""
        self._is_calm = True

    def storm(self) -> None:
        """From now on it does not."""
        self._is_calm = False

    # --- the verbs

    def get_many(self, keys: Sequence[bytes]) -> Awaitable[list[bytes | None]]:
        nothing: list[bytes | None] = [None] * len(keys)
        return self._do(lambda: self.store.get_many(keys), nothing)

    def set(self, key: bytes, value: bytes, *, ttl: int) -> Awaitable[None]:
        return self._do(lambda: self.store.set(key, value, ttl=ttl))

    def delete(self, keys: Sequence[bytes]) -> Awaitable[int]:
        return self._do(lambda: self.store.delete(keys))

    def run(self, script: Script, keys: Sequence[bytes], args: Sequence[bytes]) -> Awaitable[Reply]:
        return self._do(lambda: self.store.run(script, keys, args))

    def time(self) -> Awaitable[int]:
        return self._do(self.store.time)

    async def scan(self, pattern: bytes) -> AsyncIterator[list[bytes]]:
        await self._do(_nothing)
        async for batch in self.store.scan(pattern):
            yield batch

    # --- what no mischief befalls

    def now(self) -> int:
        return self.store.now()

    def sealed(self, key: bytes, value: bytes) -> bytes:
        return self.store.sealed(key, value)

    async def open(self) -> None:
        await self.store.open()

    async def aclose(self) -> None:
        await self.store.aclose()

    # --- mischief

    def _do(self, step: Callable[[], Awaitable[T]], untrue: T | None = None) -> Awaitable[T]:
        """Begin a step, as the contract wants it: at the call. `untrue` is what a lie says."""
        mischief = self._next(may_lie=untrue is not None)
        if mischief is Mischief.FAIL:
            return _Told(_failing())
        doing = step()
        if mischief is Mischief.NONE:
            return doing
        if mischief is Mischief.LOSE:
            return _Told(_losing(doing))
        if mischief is Mischief.DELAY:
            return _Told(self._delaying(doing, self._chance.random() * self._late))
        if mischief is Mischief.CANCEL:
            return _Told(_cancelling(doing))
        assert untrue is not None
        return _Told(_lying(doing, untrue))

    def _next(self, *, may_lie: bool) -> Mischief:
        if self._is_calm:
            return Mischief.NONE
        self.steps += 1
        if self._plan is not None:
            mischief = next(self._plan, Mischief.NONE)
        else:
            (mischief,) = self._chance.choices(self._kinds, self._weights)
        if mischief is Mischief.LIE and not may_lie:
            mischief = Mischief.NONE  # a lie about what was written is no eviction
        self.happened[str(mischief)] += 1
        return mischief

    async def _delaying(self, doing: Awaitable[T], seconds: float) -> T:
        await self._sleep(seconds)
        return await doing


class _Told(Awaitable[T]):
    """An awaitable that may be dropped without a warning, as a store's may."""

    def __init__(self, telling: Coroutine[Any, Any, T]) -> None:
        self._telling = telling

    def __await__(self) -> Generator[Any, None, T]:
        return (yield from self._telling.__await__())

    def __del__(self) -> None:
        self._telling.close()


async def _nothing() -> None:
    pass


async def _failing() -> Any:
    raise StoreUnavailable("connection", "by plan, and not done")


async def _losing(doing: Awaitable[object]) -> Any:
    await doing
    raise StoreUnavailable("timeout", "by plan, and done")


async def _cancelling(doing: Awaitable[T]) -> T:
    result = await doing
    task = asyncio.current_task()
    if task is not None:
        task.cancel()
        await asyncio.sleep(0)
    return result


async def _lying(doing: Awaitable[T], untrue: T) -> T:
    await doing
    return untrue
