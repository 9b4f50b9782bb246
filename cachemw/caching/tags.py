"""Tags: the names under which entries are purged together, and the templates that make them.

A tag is text, and equal text is the same tag however it was made: by the template `"product:{id}"`,
by `cache.tag(f"product:{id}")` in a handler, by `purge(tags=[f"product:{id}"])` in a job, on the
command line. That is why values go into a template as they are: escaping them here and not in
somebody's f-string would let a purge miss. Hence `"p:{a}:{b}"` gives one tag for ("1:2", "3") and
("1", "2:3"); a client that picks such a value has its own entry purged more often, and no more.

`tag_bytes` is the one door from text to the bytes that are stored: printable ASCII, bounded,
injective. This file knows neither entries nor stamps.
"""

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import lru_cache
from hashlib import blake2b
from typing import Literal, TypeAlias, cast
from urllib.parse import parse_qsl, quote, unquote

from cachemw.errors import ConfigurationError
from cachemw.messages import Headers, combined

_LONGEST = 200  # bytes of a stored tag
_PLAIN = "!#$&'()*+-./:;<=>?@[]^_`{|}~"  # kept as they are; not '%', the mark of what is escaped
_PATH_CHARS = "/:@!$&'()*+,;="  # RFC 3986 §3.3
_HOLE = re.compile(r"\{([^{}]*)\}")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

Source: TypeAlias = Literal["path", "query", "header", "identity"]


def tag_bytes(text: str) -> bytes:
    """A tag as it is stored, sent and listed: different texts give different bytes."""
    if not isinstance(cast(object, text), str):  # callers may have no type checker
        raise ConfigurationError(
            f"{text!r} is no tag: a tag is text such as 'product:3', of several each one"
        )
    return _stored(text)


@lru_cache(maxsize=4096)
def _stored(text: str) -> bytes:
    safe = quote(text, safe=_PLAIN, errors="surrogatepass").encode("ascii")
    if len(safe) <= _LONGEST:
        return safe
    # Escapes are '%' and two hex digits, so no short tag can look like this.
    digest = blake2b(safe, digest_size=16).hexdigest().encode("ascii")
    return safe[: _LONGEST - 34] + b"%~" + digest


def tag_text(tag: bytes) -> str:
    """A stored tag as it was said; of a long one, as far as it was kept."""
    return unquote(tag.decode("ascii", "replace"), errors="surrogatepass")


@dataclass(frozen=True, slots=True)
class TagInputs:
    """What one request has to offer to a template."""

    path: Mapping[str, str] = field(default_factory=dict[str, str])
    query: bytes = b""
    headers: Headers = ()
    identity: str = ""


@dataclass(frozen=True, slots=True)
class Hole:
    """One placeholder of a template, such as `{query.page}`."""

    source: Source
    name: str

    def fill(self, inputs: TagInputs) -> str:
        """The value of this request; nothing where it has none, as in an f-string of `""`."""
        if self.source == "path":
            return inputs.path.get(self.name, "")
        if self.source == "query":
            pairs = parse_qsl(inputs.query.decode("latin-1"), keep_blank_values=True)
            # The last one wins, as it does in `request.query_params`.
            return dict(pairs).get(self.name, "")
        if self.source == "header":
            return (combined(inputs.headers, self.name.encode()) or b"").decode("latin-1")
        return inputs.identity


@dataclass(frozen=True, slots=True)
class TagTemplate:
    """One template, taken apart: literal text and holes."""

    text: str
    parts: tuple[str | Hole, ...]

    @classmethod
    def parse(cls, text: str) -> "TagTemplate":
        """The template written as `text`; `ConfigurationError` when it cannot be read."""
        if not text:
            raise ConfigurationError("a tag is empty: give it a name such as 'products'")
        parts: list[str | Hole] = []
        for index, piece in enumerate(_HOLE.split(text)):
            if index % 2:
                parts.append(_hole(piece, text))
            elif "{" in piece or "}" in piece:
                raise ConfigurationError(
                    f"tag {text!r} has a brace without its partner: write '{{id}}' for a value"
                )
            elif piece:
                parts.append(piece)
        return cls(text, tuple(parts))

    @property
    def holes(self) -> tuple[Hole, ...]:
        return tuple(part for part in self.parts if isinstance(part, Hole))

    def render(self, inputs: TagInputs) -> bytes:
        """The tag of this request."""
        texts = (part if isinstance(part, str) else part.fill(inputs) for part in self.parts)
        return tag_bytes("".join(texts))

    def url(self, inputs: TagInputs) -> str:
        """The template as a URL, with values escaped as browsers do it within a path."""
        return "".join(
            part if isinstance(part, str) else quote(part.fill(inputs), safe=_PATH_CHARS)
            for part in self.parts
        )

    def demand_path(self, params: Collection[str], where: str) -> None:
        """Refuse a path parameter that `where` does not have."""
        for hole in self.holes:
            if hole.source == "path" and hole.name not in params:
                raise ConfigurationError(
                    f"{where}: {self.text!r} names {{{hole.name}}}, {_fix(hole.name, params)}"
                )


@dataclass(frozen=True, slots=True)
class Tags:
    """The tags that a route declares, ready to be rendered for each request."""

    fixed: tuple[bytes, ...] = ()
    templates: tuple[TagTemplate, ...] = ()

    @classmethod
    def parse(cls, texts: Iterable[str]) -> "Tags":
        """`ConfigurationError` names the template that cannot be read."""
        parsed = [TagTemplate.parse(text) for text in texts]
        fixed = dict.fromkeys(tag_bytes(tag.text) for tag in parsed if not tag.holes)
        return cls(tuple(fixed), tuple(tag for tag in parsed if tag.holes))

    @property
    def holes(self) -> tuple[Hole, ...]:
        return tuple(hole for template in self.templates for hole in template.holes)

    def demand_path(self, params: Collection[str], where: str) -> None:
        """Refuse a template that asks for a path parameter which `where` does not have."""
        for template in self.templates:
            template.demand_path(params, where)

    def render(self, inputs: TagInputs) -> tuple[bytes, ...]:
        """This request's tags, each once."""
        if not self.templates:
            return self.fixed
        rendered = (template.render(inputs) for template in self.templates)
        return tuple(dict.fromkeys((*self.fixed, *rendered)))


def _hole(inside: str, text: str) -> Hole:
    source, dot, name = inside.partition(".")
    if inside == "identity":
        return Hole("identity", "")
    if not dot and _NAME.fullmatch(inside):
        return Hole("path", inside)
    if source == "query" and name:
        return Hole("query", name)
    if source == "header" and name:
        return Hole("header", name.lower())
    raise ConfigurationError(
        f"tag {text!r} has a placeholder {{{inside}}} that means nothing: "
        "use {name} of a path parameter, {query.name}, {header.name} or {identity}"
    )


def _fix(name: str, params: Collection[str]) -> str:
    if not params:
        return "but the path has no parameters: use {query.name}, {header.name} or {identity}"
    close = get_close_matches(name, params, n=1)
    there = "the path has " + ", ".join(f"{{{param}}}" for param in params)
    if close:
        return f"did you mean {{{close[0]}}}? {there}"
    return f"{there}; of the query it is {{query.{name}}}"
