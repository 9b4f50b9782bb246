"""Values as bytes and back, by their type. Nothing that is read can run, or be of another type.

    type=None                    plain data, as MessagePack: what comes back is what was given
    a pydantic model, or a type  JSON, by pydantic
    that holds one
    any other type               MessagePack, by msgspec: dataclasses, structs, typed dicts, named
                                 tuples, enums, dates, `list[...]`, unions ...

Stored bytes that do not fit the type, after a deployment that changed it for instance, are
`UnreadableEntry`: a miss. This file knows neither keys nor stores.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from types import UnionType
from typing import Any, Generic, TypeVar, Union, cast, get_args, get_origin, get_type_hints

import msgspec
from msgspec.inspect import CustomType
from pydantic import BaseModel, TypeAdapter
from pydantic_core import ValidationError

from cachemw.errors import ConfigurationError, UnreadableEntry

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Codec(Generic[T]):
    """How values of one type become bytes, and are read again."""

    _encode: Callable[[T], bytes]
    _decode: Callable[[bytes], T]

    def encode(self, value: T) -> bytes:
        """The bytes of a value; `ConfigurationError` when it is not what this codec is for."""
        try:
            return self._encode(value)
        except ConfigurationError:
            raise
        except (msgspec.MsgspecError, TypeError, ValueError, OverflowError) as error:
            raise ConfigurationError(
                f"a value of type {_name(type(value))} cannot be kept: {error}"
            ) from None

    def decode(self, stored: bytes) -> T:
        """The value that bytes stand for; `UnreadableEntry` if they are not such bytes."""
        try:
            return self._decode(stored)
        except (msgspec.MsgspecError, ValidationError, ValueError, RecursionError) as error:
            raise UnreadableEntry(str(error)) from error


def codec_of(type: Any = None) -> Codec[Any]:
    """The codec for a type, or for plain data."""
    if type is None or type is Any:
        return _PLAIN
    try:
        return _codec_of(type)
    except TypeError:  # not hashable: an Annotated with a list in it
        return _codec_of.__wrapped__(type)


@lru_cache(maxsize=1024)
def _codec_of(type: Any) -> Codec[Any]:
    try:
        if _holds_model(type, set()):
            adapter: TypeAdapter[Any] = TypeAdapter(type)
            dump = partial(adapter.dump_json, by_alias=True, round_trip=True, warnings="error")
            return _checked(dump, adapter.validate_json)
        if any(isinstance(msgspec.inspect.type_info(one), CustomType) for one in _either(type)):
            raise TypeError("it is neither data nor a class of data")
        return _checked(_encode, msgspec.msgpack.Decoder(type).decode)
    except Exception as error:  # each library has its own, and many
        raise ConfigurationError(f"type={_name(type)} cannot be kept: {error}") from None


def _checked(encode: Callable[[Any], bytes], decode: Callable[[bytes], Any]) -> Codec[Any]:
    """What could not be read again is refused when it is kept, and not a miss for ever."""

    def encode_checked(value: Any) -> bytes:
        encoded = encode(value)
        decode(encoded)
        return encoded

    return Codec(encode_checked, decode)


def _either(type: Any) -> tuple[Any, ...]:
    return get_args(type) if get_origin(type) in (Union, UnionType) else (type,)


_encode = msgspec.msgpack.Encoder().encode
_decode_plain = msgspec.msgpack.Decoder().decode


def _encode_plain(value: object) -> bytes:
    """A dataclass would come back as a dict, a tuple as a list, and the caller would not know."""
    encoded = _encode(value)
    read = _decode_plain(encoded)
    if type(read) is not type(value) or (read != value and value == value):
        raise ConfigurationError(
            f"a value of type {_name(type(value))} would not come back as what it is: say its "
            "type with type=..., or keep plain data (dict, list, str, bytes, int, float, bool)"
        )
    return encoded


_PLAIN: Codec[Any] = Codec(_encode_plain, _decode_plain)


def _holds_model(type: Any, seen: set[int]) -> bool:
    """Whether pydantic has to read a type, because of something within it."""
    if id(type) in seen:
        return False
    seen.add(id(type))
    if isinstance(type, _CLASS):
        kind = cast("type[Any]", type)
        if issubclass(kind, BaseModel) or hasattr(kind, "__pydantic_validator__"):
            return True
        has_fields = ("__dataclass_fields__", "__required_keys__", "_fields")  # all that do
        if any(hasattr(kind, name) for name in has_fields):
            hints = get_type_hints(kind, include_extras=True)
            return any(_holds_model(hint, seen) for hint in hints.values())
    return any(_holds_model(argument, seen) for argument in get_args(type))


_CLASS = type


def _name(type: Any) -> str:
    return getattr(type, "__qualname__", None) or repr(type)
