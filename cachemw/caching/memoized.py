"""Functions whose results are kept."""

import functools
import types
from collections.abc import Callable, Coroutine
from typing import Any, Generic, ParamSpec, TypeVar, cast, overload

from msgspec import structs

from cachemw.caching.datapolicy import DataPolicy, Loading
from cachemw.caching.loads import Loads, Order
from cachemw.caching.memo import Naming, result_type
from cachemw.caching.values import codec_of
from cachemw.durations import DurationLike

P = ParamSpec("P")
T = TypeVar("T")


class Memoized(Generic[P, T]):
    """A function whose results are kept. Awaited like a coroutine function, and bound to an object
    like a method; its key must not depend on that object."""

    def __init__(
        self,
        function: Callable[P, Any],
        loads: Loads,
        policy: DataPolicy,
        naming: Naming,
        type: Any,
    ) -> None:
        functools.update_wrapper(self, function)
        self.function = function
        self._loads = loads
        self._policy = policy
        self._naming = naming
        self._codec = codec_of(type)

    async def __call__(self, *args: P.args, **kwargs: P.kwargs) -> T:
        key, tags = self._naming.call(args, kwargs)
        policy = structs.replace(self._policy, tags=(*self._policy.tags, *dict.fromkeys(tags)))
        load = functools.partial(self.function, *args, **kwargs)
        return cast(T, await self._loads.get(Order(key, load, policy, self._codec)))

    def key_of(self, *args: P.args, **kwargs: P.kwargs) -> str:
        """The key of a call: for `delete`, `purge(key=...)`, `write_through`."""
        return self._naming.call(args, kwargs)[0]

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        return self if instance is None else types.MethodType(self, instance)


class Memoize:
    """What `Cache.memoize(...)` gives: a decorator."""

    def __init__(
        self, loads: Loads, ttl: DurationLike, key: str | None, type: Any, options: Loading
    ) -> None:
        tags = options.get("tags", ())
        if not callable(tags):
            options = cast(Loading, {**options, "tags": ()})  # templates, for `Naming`
        self._loads = loads
        self._policy = DataPolicy.of(ttl, **options)
        self._key = key
        self._tags = () if callable(tags) else tags
        self._type = type

    @overload
    def __call__(self, function: Callable[P, Coroutine[Any, Any, T]]) -> Memoized[P, T]: ...
    @overload
    def __call__(self, function: Callable[P, T]) -> Memoized[P, T]: ...

    def __call__(self, function: Callable[P, Any]) -> Memoized[P, Any]:
        type = result_type(function) if self._type is None else self._type
        naming = Naming(function, self._key, self._tags)
        return Memoized(function, self._loads, self._policy, naming, type)
