"""Which key and which tags the call of a function stands for."""

import inspect
from collections.abc import Callable, Iterable, Mapping
from hashlib import blake2b
from typing import Any, cast, get_type_hints

import msgspec

from cachemw.caching.tags import Hole, TagInputs, TagTemplate
from cachemw.caching.values import codec_of
from cachemw.errors import ConfigurationError, nearest

_encode = msgspec.msgpack.Encoder().encode


class Naming:
    """Names the calls of one function.

    Without a template, the key is the function's name and a digest of all arguments, types
    included. With one, it is the template filled in, so that `purge(key=...)` can spell it.
    """

    def __init__(
        self, function: Callable[..., Any], key: str | None, tags: str | Iterable[str]
    ) -> None:
        self.name = f"{function.__module__}.{function.__qualname__}"
        self._signature = inspect.signature(function)
        self._key = None if key is None else self._template(key)
        if self._key is not None:
            _demand_gaps(self._key)
        self._tags = [self._template(tag) for tag in ((tags,) if isinstance(tags, str) else tags)]
        templates = [*self._tags, *([self._key] if self._key is not None else [])]
        self._told = {hole.name for template in templates for hole in template.holes}

    def call(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[str, list[bytes]]:
        """The key of a call, and the tags that its arguments give it."""
        arguments = self._bind(args, kwargs)
        # Others may be large, or have no text worth the name.
        inputs = TagInputs({name: str(arguments[name]) for name in self._told})
        tags = [template.render(inputs) for template in self._tags]
        return self._key_of(arguments, inputs), tags

    def _key_of(self, arguments: Mapping[str, Any], inputs: TagInputs) -> str:
        if self._key is not None:
            return _distinct_text(self._key, inputs)
        try:
            material = [[name, material_of(value)] for name, value in arguments.items()]
        except ConfigurationError as error:
            raise ConfigurationError(
                f"{self.name} has an argument that names nothing: {error}; "
                "say what counts with key='user:{user_id}'"
            ) from None
        digest = blake2b(_encode(material), digest_size=16).hexdigest()
        return f"{self.name}:{digest}"

    def _bind(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Mapping[str, Any]:
        bound = self._signature.bind(*args, **kwargs)
        bound.apply_defaults()
        return bound.arguments

    def _template(self, text: str) -> TagTemplate:
        template = TagTemplate.parse(text)
        parameters = list(self._signature.parameters)
        for hole in template.holes:
            if hole.source != "path":
                raise ConfigurationError(
                    f"{self.name}: {text!r} names a part of a request, and this is a function: "
                    "use the name of an argument"
                )
            if hole.name not in parameters:
                fix = nearest(hole.name, parameters) if parameters else "it has no arguments"
                raise ConfigurationError(f"{self.name}: {text!r} names {{{hole.name}}}: {fix}")
        return template


def result_type(function: Callable[..., Any]) -> Any:
    """What a function is annotated to return, None when nothing is said."""
    try:
        return get_type_hints(function, include_extras=True).get("return")
    except (NameError, TypeError):  # an annotation that only a type checker can read
        return None


def material_of(value: Any) -> Any:
    """A value as MessagePack can tell it from every other value, whatever their types."""
    if value is None or type(value) in (bool, int, float, str, bytes):
        return value
    if isinstance(value, list | tuple):
        return ["list", [material_of(item) for item in cast("list[Any]", value)]]
    if isinstance(value, set | frozenset):
        return ["set", sorted(_encode(material_of(item)) for item in cast("set[Any]", value))]
    if isinstance(value, dict):
        items = cast(Mapping[Any, Any], value).items()
        return ["dict", sorted(_encode([material_of(k), material_of(v)]) for k, v in items)]
    kind = value.__class__
    return [f"{kind.__module__}.{kind.__qualname__}", codec_of(kind).encode(value)]


def _distinct_text(template: TagTemplate, inputs: TagInputs) -> str:
    """The text of a key: "{a}:{b}" is another one for ("1:2", "3") than for ("1", "2:3").

    What a value shares with the text that ends it is escaped; the last value is as it is.
    """
    texts: list[str] = []
    parts = template.parts
    last = max((at for at, part in enumerate(parts) if isinstance(part, Hole)), default=0)
    for at, part in enumerate(parts):
        if isinstance(part, str):
            texts.append(part)
        elif at == last:
            texts.append(part.fill(inputs))
        else:
            ends = "%" + cast(str, parts[at + 1])
            value = part.fill(inputs)
            texts.append("".join(f"%{ord(c):X};" if c in ends else c for c in value))
    return "".join(texts)


def _demand_gaps(template: TagTemplate) -> None:
    for first, second in zip(template.parts, template.parts[1:], strict=False):
        if isinstance(first, Hole) and isinstance(second, Hole):
            raise ConfigurationError(
                f"key {template.text!r} has two values side by side, so that different calls could "
                f"share it: put a colon between {{{first.name}}} and {{{second.name}}}"
            )
