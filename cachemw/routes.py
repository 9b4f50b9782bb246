"""Which policy a request comes under: patterns, and the routes that the app itself will pick.

`Routes` is a table of patterns in Starlette's path syntax; the first that matches wins.
`app_routes` walks the routes of a Starlette or FastAPI app in the order in which the app tries
them. `routetable.py` joins the two. What a policy is, and what happens under it, is not known here:
a policy is any value.

Paths are what Starlette routes on: percent-decoded, below the root path (`get_route_path`).
"""

import inspect
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Generic, NamedTuple, TypeAlias, TypeVar, cast

from starlette.convertors import CONVERTOR_TYPES, Convertor, PathConvertor, StringConvertor
from starlette.endpoints import HTTPEndpoint
from starlette.routing import BaseRoute, Host, Mount, Route, WebSocketRoute, compile_path

from cachemw.errors import ConfigurationError

P = TypeVar("P")
Methods: TypeAlias = frozenset[str] | None  # None: every method

_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "QUERY")
_WRITTEN = re.compile(r"(?:([A-Za-z]+(?:\s*,\s*[A-Za-z]+)*)\s+)?(/.*)", re.DOTALL)
_HOLE = re.compile(r"\{([a-zA-Z_][a-zA-Z0-9_]*)(?::([a-zA-Z_][a-zA-Z0-9_]*))?\}")
_ONE_SEGMENT = ("str", "int", "float", "uuid")  # the convertors that never match a slash
_EVERYTHING = "/{path:path}"


@dataclass(frozen=True, slots=True)
class Pattern:
    """One compiled pattern; `text` is its path, as it was written."""

    text: str
    methods: Methods
    regex: "re.Pattern[str]"
    convertors: Mapping[str, Convertor[Any]]

    @classmethod
    def parse(cls, written: str) -> "Pattern":
        """From `"/products/{id}"` or `"GET,POST /products/{id}"`; GET includes HEAD."""
        found = _WRITTEN.fullmatch(written)
        if found is None:
            raise ConfigurationError(
                f"route {written!r} must be a path that begins with '/', "
                "after the methods if it names some: 'GET,POST /products/{id}'"
            )
        named, path = found.groups()
        methods = frozenset(named.upper().replace(",", " ").split()) if named else None
        unknown = sorted((methods or frozenset()).difference(_METHODS))
        if unknown:
            raise ConfigurationError(
                f"route {written!r}: {unknown[0]} is no method, choose among {', '.join(_METHODS)}"
            )
        for _, convertor in _HOLE.findall(path):
            if convertor and convertor not in CONVERTOR_TYPES:
                known = ", ".join(CONVERTOR_TYPES)
                raise ConfigurationError(
                    f"route {written!r}: no convertor {convertor!r}, choose among {known}"
                )
        if set("{}*") & set(_HOLE.sub("", path)):
            raise ConfigurationError(
                f"route {written!r} cannot be read: write '{{id}}' for one segment and "
                "'{rest:path}' at the end for all that follows"
            )
        try:
            return cls.of(path, methods)
        except ValueError as error:
            raise ConfigurationError(f"route {written!r}: {error}") from None

    @classmethod
    def of(cls, path: str, methods: Methods = None) -> "Pattern":
        """The pattern of a path that is known to be good."""
        if methods and "GET" in methods:
            methods |= {"HEAD"}
        regex, _, convertors = compile_path(path)
        # A newline within the path must not lead around a policy: `.` takes it here.
        return cls(path, methods, re.compile(regex.pattern, re.DOTALL), convertors)

    def takes(self, method: str) -> bool:
        return self.methods is None or method in self.methods

    def params(self, path: str) -> dict[str, str] | None:
        """The parameters of a path that matches, in canonical spelling: "007" of an int is "7"."""
        found = self.regex.match(path)
        if found is None:
            return None
        params = cast(dict[str, str], found.groupdict())
        for name, convertor in self.convertors.items():
            if isinstance(convertor, StringConvertor | PathConvertor):
                continue
            try:
                params[name] = convertor.to_string(convertor.convert(params[name]))
            except (ValueError, AssertionError):
                continue  # too long for an int: the app fails on it in its own way
        return params

    def covers(self, other: "Pattern") -> bool:
        """Whether this pattern surely takes every request that `other` matches."""
        if self.methods is not None and not (other.methods and other.methods <= self.methods):
            return False
        own, theirs = _segments(self.text), _segments(other.text)
        for index, segment in enumerate(own):
            if segment == "{_:path}" and index == len(own) - 1:
                return index < len(theirs)
            if index >= len(theirs):
                return False
            takes_any = segment == "{_:str}" and theirs[index] and _is_one(theirs[index])
            if segment != theirs[index] and not takes_any:
                return False
        return len(own) == len(theirs)

    def __str__(self) -> str:
        return f"{','.join(sorted(self.methods))} {self.text}" if self.methods else self.text


def _segments(path: str) -> list[str]:
    """The path's segments, with parameters that differ only in name made equal."""
    return _HOLE.sub(lambda hole: "{_:" + (hole[2] or "str") + "}", path).split("/")


def _is_one(text: str) -> bool:
    """Whether every parameter in `text` stays within its segment."""
    return all((hole[2] or "str") in _ONE_SEGMENT for hole in _HOLE.finditer(text))


class Matched(NamedTuple, Generic[P]):
    """What a request comes under: the policy, and the pattern that chose it."""

    policy: P
    pattern: Pattern
    path: str

    @property
    def params(self) -> Mapping[str, str]:
        """The parameters of the path, in canonical spelling."""
        return self.pattern.params(self.path) or {}


class Routes(Generic[P]):
    """Patterns and what applies under them; the first that matches wins.

    A path without parameters costs one dict look-up, any other one search for all patterns
    together.
    """

    def __init__(self, entries: Iterable[tuple[Pattern, P]] = ()) -> None:
        self.entries = tuple(entries)
        named = frozenset[str]().union(*(pattern.methods or () for pattern, _ in self.entries))
        self._finders = {method: self._finder(method) for method in named}
        self._other = self._finder("")

    @classmethod
    def of(cls, table: Mapping[str, P], default: P | None = None) -> "Routes[P]":
        """From patterns as people write them. Refuses one that could never match."""
        entries: list[tuple[Pattern, P]] = []
        for written, policy in table.items():
            pattern = Pattern.parse(written)
            for earlier, _ in entries:
                if earlier.covers(pattern):
                    raise ConfigurationError(
                        f"route {written!r} can never match: '{earlier}' stands before it and "
                        "takes the same requests; put the narrower one first"
                    )
            entries.append((pattern, policy))
        if default is not None:
            entries.append((Pattern.of(_EVERYTHING), default))
        return cls(entries)

    def match(self, method: str, path: str) -> Matched[P] | None:
        """What applies to a request, None where nothing does."""
        return self._finders.get(method, self._other).find(path)

    def _finder(self, method: str) -> "_Finder[P]":
        return _Finder([entry for entry in self.entries if entry[0].takes(method)])


class _Finder(Generic[P]):
    """The patterns of one method: a dict of the fixed paths, one regex of the others."""

    __slots__ = ("_by_mark", "_entries", "_fixed", "_search")

    def __init__(self, entries: Sequence[tuple[Pattern, P]]) -> None:
        self._entries = entries
        fixed = [pattern.text for pattern, _ in entries if not pattern.convertors]
        self._fixed = {path: self._first(path) for path in fixed}
        # Alternatives are tried in order, and each ends in an empty group of its own, the mark:
        # the last group that matched tells the pattern.
        self._by_mark: dict[int, tuple[Pattern, P]] = {}
        alternatives: list[str] = []
        groups = 0
        for pattern, policy in entries:
            if pattern.convertors:
                unnamed = re.sub(r"\(\?P<\w+>", "(?:", pattern.regex.pattern)
                dot = "(?s:" if pattern.regex.flags & re.DOTALL else "(?:"
                alternatives.append(f"{dot}{unnamed})()")
                groups += re.compile(alternatives[-1]).groups
                self._by_mark[groups] = (pattern, policy)
        self._search = re.compile("|".join(alternatives)).match if alternatives else None

    def find(self, path: str) -> Matched[P] | None:
        if path in self._fixed:
            return self._fixed[path]
        if path.endswith("\n"):
            # `$` matches before a final newline: Starlette takes "/about%0A" for "/about".
            return self._first(path)
        found = self._search(path) if self._search is not None else None
        if found is None:
            return None
        pattern, policy = self._by_mark[cast(int, found.lastindex)]
        return Matched(policy, pattern, path)

    def _first(self, path: str) -> Matched[P] | None:
        for pattern, policy in self._entries:
            if pattern.regex.match(path):
                return Matched(policy, pattern, path)
        return None


@dataclass(frozen=True, slots=True)
class AppRoute:
    """One route of an app, with its full path."""

    pattern: Pattern
    endpoint: object = None
    """None where only the path is known: a mounted app, a route with a matching of its own."""
    name: str | None = None
    carriers: tuple[object, ...] = ()
    """What may carry a mark, outermost first: the `Depends(...)` of app, routers and route, then
    the endpoint."""
    host: BaseRoute | None = field(default=None, compare=False)
    """The `Host` route that must match first."""


def app_routes(app: object) -> Iterator[AppRoute]:
    """The HTTP routes of a Starlette or FastAPI app in the order in which the app tries them.

    Mounts and included routers are resolved. A mount ends in a route without endpoint: what is
    not found below it is not found, and does not reach the routes after it.
    """
    yield from _walk(getattr(app, "routes", ()), "", None)


def _walk(routes: Sequence[BaseRoute], prefix: str, host: BaseRoute | None) -> Iterator[AppRoute]:
    for route, seen in effective_routes(routes):
        if isinstance(route, WebSocketRoute):
            continue
        if isinstance(route, Mount):
            below = prefix + seen.path
            # A parameter that spans segments may be cut by the mount where one regex would not.
            if _matches_as_usual(route) and _is_one(below):
                yield from _walk(seen.routes, below, host)
            yield AppRoute(_full(below, _EVERYTHING), host=host)
        elif isinstance(route, Host) and host is None and not prefix:
            yield from _walk(seen.routes, prefix, seen)
            yield AppRoute(_full(prefix, _EVERYTHING), host=seen)
        elif isinstance(route, Route):
            if _matches_as_usual(route):
                yield from _endpoints(seen, prefix, host)
            else:
                yield AppRoute(_full(prefix, seen.path), host=host)
        else:
            # Nobody knows what it takes. Perhaps all: no later route is certain to be reached.
            yield AppRoute(_full(prefix, _EVERYTHING), host=host)


def effective_routes(routes: Sequence[BaseRoute]) -> Iterator[tuple[BaseRoute, Any]]:
    """Each route, and the same with the path and the dependencies that it has in this place."""
    # An app that needs FastAPI has imported it.
    fastapi = sys.modules.get("fastapi.routing")
    resolve = getattr(fastapi, "iter_route_contexts", None)
    if resolve is None:  # before 0.137.2, when included routes were copies with full paths
        yield from ((route, route) for route in routes)
    else:
        for context in resolve(routes):
            # Before 0.144 what stands in for a Starlette route is one step further.
            yield context.original_route, getattr(context, "starlette_route", None) or context


def _matches_as_usual(route: BaseRoute) -> bool:
    return type(route).matches.__module__ in ("starlette.routing", "fastapi.routing")


def _endpoints(seen: Any, prefix: str, host: BaseRoute | None) -> Iterator[AppRoute]:
    methods = None if seen.methods is None else frozenset(cast(set[str], seen.methods))
    endpoint: object = seen.endpoint
    carriers: list[Any] = [*getattr(seen, "dependencies", ()), endpoint]
    while isinstance(carriers[-1], partial):
        carriers.append(carriers[-1].func)
    if inspect.isclass(endpoint) and issubclass(endpoint, HTTPEndpoint):
        for method in _METHODS:
            # As HTTPEndpoint dispatches: HEAD is answered by `get` when there is no `head`.
            fallback = getattr(endpoint, "get", None) if method == "HEAD" else None
            handler = getattr(endpoint, method.lower(), fallback)
            if handler is not None and (methods is None or method in methods):
                pattern = _full(prefix, seen.path, frozenset({method}))
                yield AppRoute(pattern, handler, seen.name, (*carriers, handler), host)
    yield AppRoute(_full(prefix, seen.path, methods), endpoint, seen.name, tuple(carriers), host)


def _full(prefix: str, path: str, methods: Methods = None) -> Pattern:
    """The pattern below a mount, where an inner parameter hides an outer one of its name."""
    hidden = {hole[1] for hole in _HOLE.finditer(path)}

    def outer(hole: "re.Match[str]") -> str:
        name = hole[1]
        while name in hidden:
            name += "_"
        hidden.add(name)
        return "{" + name + ":" + (hole[2] or "str") + "}" if name != hole[1] else hole[0]

    # From the right: of two mounts, too, the inner one hides the outer one.
    for hole in reversed(list(_HOLE.finditer(prefix))):
        prefix = prefix[: hole.start()] + outer(hole) + prefix[hole.end() :]
    regex, _, convertors = compile_path(prefix + path)
    return Pattern(prefix + path, methods, regex, convertors)
