"""Several values under one key, each with its own end: `cache.fields("user:1")`.

For what belongs together, is forgotten together, and grows old apart: the parts of a dashboard,
what is known of one device. It is one hash on the server. The end of a field stands before its
value, so that it counts on every server alike; where the server lets fields end by themselves
(Valkey 9, Redis 7.4), their memory is given back at once, elsewhere with the next write to the key.

Fields have neither tags nor stale windows, and nobody waits for one that is missing: what needs
those is a value of its own.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

from cachemw.caching.datakeys import data_key
from cachemw.caching.tags import tag_bytes, tag_text
from cachemw.caching.values import codec_of
from cachemw.durations import DurationLike, seconds
from cachemw.errors import ConfigurationError, StoreUnavailable, UnreadableEntry
from cachemw.scripts import SEAL, Keyspace, Reply, Script, WrongType
from cachemw.stores.base import Store

MOST = 1000  # fields in one call
_KEPT = re.compile(rb"(\d{1,16}) (.*)", re.DOTALL)


class Fields:
    """The fields of one key."""

    def __init__(self, store: Store, key: str) -> None:
        self._store = store
        self._key = b"df" + data_key(key)[1:]

    async def set(self, name: str, value: Any, ttl: DurationLike, *, type: Any = None) -> None:
        """Keep a field for `ttl`, whatever was there. Raises `StoreUnavailable`."""
        await self.set_many({name: value}, ttl, type=type)

    async def set_many(
        self, values: Mapping[str, Any], ttl: DurationLike, *, type: Any = None
    ) -> None:
        """Keep several fields for `ttl`, in one trip; others stay as they are."""
        codec, args = codec_of(type), list[bytes]()
        for name, value in values.items():
            field = _field(name)
            args += (field, self._store.sealed(self._name(field), codec.encode(value)))
        _demand_few(values)
        if args:
            lives = b"%d" % max(1, int(seconds(ttl) * 1000))
            await self._store.run(SET, (self._key,), (lives, *args))

    async def get(self, name: str, default: Any = None, *, type: Any = None) -> Any:
        """A field, or `default`; nothing is found while the store is away."""
        return (await self.get_many([name], type=type)).get(name, default)

    async def get_many(self, names: Iterable[str], *, type: Any = None) -> dict[str, Any]:
        """Those of the fields that are there, in one trip."""
        wanted = list(dict.fromkeys(names))
        _demand_few(wanted)
        found = await self._read([_field(name) for name in wanted], type) if wanted else {}
        return {name: value for name in wanted for value in found.get(_field(name), ())}

    async def get_all(self, *, type: Any = None) -> dict[str, Any]:
        """Every field that is there. Of a name longer than 200 bytes the end is a digest."""
        found = await self._read([], type)
        return {tag_text(field): value for field, (value,) in found.items()}

    async def ttl(self, name: str) -> float | None:
        """For how many seconds a field is kept yet, None when it is not there."""
        for _, left, _ in await self._found([_field(name)]):
            return left / 1000
        return None

    async def delete(self, *names: str) -> int:
        """Forget fields. How many there were. Raises `StoreUnavailable`."""
        _demand_few(names)
        fields = [_field(name) for name in names]
        dropped = await self._store.run(DROP, (self._key,), fields) if fields else 0
        return dropped if isinstance(dropped, int) else 0

    async def clear(self) -> bool:
        """Forget all of them. Whether there were any. Raises `StoreUnavailable`."""
        return bool(await self._store.delete((self._key,)))

    async def _read(self, fields: Sequence[bytes], type: Any) -> dict[bytes, tuple[Any]]:
        codec, read = codec_of(type), dict[bytes, tuple[Any]]()
        for field, _, stored in await self._found(fields):
            if stored != self._store.sealed(self._name(field), stored[SEAL:]):
                continue  # not written under this name
            try:
                read[field] = (codec.decode(stored[SEAL:]),)
            except UnreadableEntry:
                continue
        return read

    async def _found(self, fields: Sequence[bytes]) -> list[tuple[bytes, int, bytes]]:
        try:
            reply = await self._store.run(GET, (self._key,), fields)
        except StoreUnavailable:
            return []
        flat = cast(list[Any], reply) if isinstance(reply, list) else []
        return list(zip(flat[::3], flat[1::3], flat[2::3], strict=True))

    def _name(self, field: bytes) -> bytes:
        return self._key + b":" + field


def _field(name: str) -> bytes:
    if not name:
        raise ConfigurationError("a field is empty: give it a name such as 'address'")
    return tag_bytes(name)


def _demand_few(names: Any) -> None:
    if len(names) > MOST:
        raise ConfigurationError(f"{len(names)} fields in one call; {MOST} are the most")


# --- the twins of the scripts


def _kept(keyspace: Keyspace, key: bytes) -> dict[bytes, bytes]:
    try:
        return keyspace.hgetall(key)
    except WrongType:
        return {}


def _until(value: bytes) -> int:
    found = _KEPT.fullmatch(value)
    return int(found[1]) if found else 0


def _set(keyspace: Keyspace, keys: Sequence[bytes], args: Sequence[bytes]) -> Reply:
    key, lives = keys[0], int(args[0])
    now, left = keyspace.time() // 1000, keyspace.ttl(key)
    try:
        keyspace.hlen(key)
    except WrongType:
        keyspace.delete(key)
    said = dict(zip(args[1::2], args[2::2], strict=True))
    keyspace.hset(key, {name: b"%d %b" % (now + lives, value) for name, value in said.items()})
    keyspace.expire(key, max(left, lives))
    ended = [name for name, value in keyspace.hgetall(key).items() if _until(value) <= now]
    if ended:
        keyspace.hdel(key, ended)
    return 1


def _get(keyspace: Keyspace, keys: Sequence[bytes], args: Sequence[bytes]) -> Reply:
    now, kept = keyspace.time() // 1000, _kept(keyspace, keys[0])
    answer: list[Reply] = []
    for name in args or kept:
        found = _KEPT.fullmatch(kept.get(name, b""))
        if found and int(found[1]) > now:
            answer += (name, int(found[1]) - now, found[2])
    return answer


def _drop(keyspace: Keyspace, keys: Sequence[bytes], args: Sequence[bytes]) -> Reply:
    there = [name for name in args if name in _kept(keyspace, keys[0])]
    return keyspace.hdel(keys[0], list(dict.fromkeys(there))) if there else 0


SET = Script.load("cachemw.caching", "fields_set", _set)
GET = Script.load("cachemw.caching", "fields_get", _get)
DROP = Script.load("cachemw.caching", "fields_drop", _drop)
