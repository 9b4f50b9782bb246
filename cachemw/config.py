"""Settings from a file and the environment, merged with what the code says.

    code  <  cachemw.toml (or YAML)  <  CACHEMW_* variables

    store = "redis://localhost:6379/0"

    [policies.hot]                      # a policy with a name, perhaps made from a preset
    policy = "docs"
    ttl = "5m"

    [cache."/products/{id}"]            # a pattern, as in `install(cache=...)`
    policy = "hot"
    tags = ["product:{id}"]

    [cache]
    "/about" = "static"                 # nothing but a name

    [limits."POST /login"]              # handed on as they are: limits and sessions
    [sessions]                          # are checked by those who know them

Two underscores in a variable's name go one level down: `CACHEMW_POLICIES__HOT__TTL=10m`. A value
that begins with `[` or `{` is a TOML list or table. Tables are merged key by key, everything else
is replaced. Patterns of the file stand before those of the code, since the first match wins.
"""

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, TypeAlias, cast

from cachemw.caching.policy import PRESETS, CachePolicy
from cachemw.errors import ConfigurationError, nearest

Table: TypeAlias = dict[str, Any]

_PREFIX = "CACHEMW_"
_SECTIONS = ("store", "cache", "policies", "limits", "sessions")
FUNCTIONS = ("guard", "identity")
"""Options that a file writes as `package.module:name`."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What a file, the environment and the code say together."""

    store: str | None = None
    cache: Mapping[str, CachePolicy] = field(default_factory=dict[str, CachePolicy])
    policies: Mapping[str, CachePolicy] = field(default_factory=dict[str, CachePolicy])
    limits: Mapping[str, Any] = field(default_factory=dict[str, Any])
    sessions: Mapping[str, Any] | None = None


def load_settings(
    path: str | os.PathLike[str] | None = None,
    *,
    code: Mapping[str, Any] | None = None,
    env: Mapping[str, str] | None = None,
) -> Settings:
    """The settings of a file and of `env` (the process's own by default), laid over `code`.

    Without a path, `CACHEMW_CONFIG` names the file; without that, there is none. Every
    `ConfigurationError` names the file or variable and the key.
    """
    env = os.environ if env is None else env
    path = path or env.get(_PREFIX + "CONFIG")
    source = str(path) if path else "settings"
    said = _read(Path(path)) if path else {}
    variables = _from_env(env)
    if variables:
        said = _merged(said, variables)
        source += f" and {_PREFIX}* variables" if path else f" ({_PREFIX}* variables)"
    merged = _merged(dict(code or {}), said)
    return _Reader(source, merged).settings()


def _read(path: Path) -> Table:
    try:
        text = path.read_text("utf-8")
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror or error}") from None
    match path.suffix.lower():
        case ".toml":
            parse: Any = tomllib.loads
        case ".yaml" | ".yml":
            parse = _yaml_parser(path)
        case suffix:
            raise ConfigurationError(f"{path}: {suffix or 'no suffix'}: write TOML or YAML")
    try:
        table = parse(text)
    except Exception as error:  # each parser has an error of its own; all of them say where
        raise ConfigurationError(f"{path}: {error}") from None
    if table is None:
        return {}
    if not isinstance(table, dict):
        raise ConfigurationError(f"{path}: must be a table of {', '.join(_SECTIONS)}")
    return _with_text_keys(cast(Mapping[object, object], table))


def _yaml_parser(path: Path) -> Any:
    try:
        return import_module("yaml").safe_load
    except ImportError:
        raise ConfigurationError(
            f"{path}: YAML needs PyYAML: pip install 'cachemw[yaml]', or write TOML"
        ) from None


def _with_text_keys(table: Mapping[object, object]) -> Table:
    """YAML has keys of other kinds: a status is a number there."""
    return {
        str(key): _with_text_keys(cast(Mapping[object, object], value))
        if isinstance(value, dict)
        else value
        for key, value in table.items()
    }


def _from_env(env: Mapping[str, str]) -> Table:
    table: Table = {}
    for name, text in sorted(env.items()):
        first, *below = name.removeprefix(_PREFIX).lower().split("__")
        if not name.startswith(_PREFIX):
            continue
        if first not in _SECTIONS:
            # Other variables of this prefix are for others; a slip of the pen is for us.
            fix = nearest(first, _SECTIONS)
            if below or fix.startswith("did you mean"):
                raise ConfigurationError(f"variable {name}: no setting {first!r}: {fix}")
            continue
        *parents, last = first, *below
        inner = table
        for part in parents:
            child = inner.setdefault(part, {})
            if not isinstance(child, dict):
                raise ConfigurationError(f"variable {name}: {part!r} has a value of its own")
            inner = cast(Table, child)
        inner[last] = _value(name, text)
    return table


def _value(name: str, text: str) -> object:
    if not text.lstrip().startswith(("[", "{")):
        return text
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"variable {name}: {error}") from None


def _merged(under: Table, over: Table) -> Table:
    """`over` laid on `under`; what `over` says stands first."""
    result: Table = {}
    for key, value in over.items():
        below = under.get(key)
        both = isinstance(value, dict) and isinstance(below, dict)
        result[key] = _merged(cast(Table, below), cast(Table, value)) if both else value
    return {**result, **{key: value for key, value in under.items() if key not in over}}


class _Reader:
    """Turns the merged tables into settings, and says where what is wrong stands."""

    def __init__(self, source: str, tables: Table) -> None:
        self.source = source
        self.tables = tables
        for section in tables:
            if section not in _SECTIONS:
                raise self.error(section, f"no such section: {nearest(section, _SECTIONS)}")
        self.named = self.table("policies") or {}

    def settings(self) -> Settings:
        store = self.tables.get("store")
        if store is not None and not isinstance(store, str):
            raise self.error("store", f"{store!r} is no URL such as 'redis://localhost:6379/0'")
        cache = self.table("cache") or {}
        return Settings(
            store=store,
            cache={key: self.policy(f"cache.{_quoted(key)}", cache[key]) for key in cache},
            policies={key: self.policy(f"policies.{key}", self.named[key]) for key in self.named},
            limits=self.table("limits") or {},
            sessions=self.table("sessions"),
        )

    def table(self, section: str) -> Table | None:
        value = self.tables.get(section)
        if value is not None and not isinstance(value, dict):
            raise self.error(section, f"must be a table, is {value!r}")
        return cast("Table | None", value)

    def policy(self, key: str, said: object) -> CachePolicy:
        """A policy made of its own options, on top of those of the policy that it names."""
        if isinstance(said, CachePolicy):
            return said
        options = self.options(key, said, ())
        try:
            return CachePolicy(**options)
        except ConfigurationError as error:
            raise self.error(key, str(error).removeprefix("CachePolicy: ")) from None

    def options(self, key: str, said: object, seen: tuple[str, ...]) -> Any:
        if isinstance(said, CachePolicy):  # the code's own, as the base of a table in the file
            return {name: getattr(said, name) for name in said.model_fields_set}
        if isinstance(said, str):
            said = {"policy": said}
        if not isinstance(said, dict):
            raise self.error(key, f"must be a table or the name of a policy, is {said!r}")
        own = dict(cast(Table, said))
        for name in FUNCTIONS:
            if isinstance(own.get(name), str):
                own[name] = self.function(f"{key}.{name}", own[name])
        base = own.pop("policy", None)
        if base is None:
            return own
        if base in seen:
            raise self.error(key, "policies name each other: " + " -> ".join((*seen, base)))
        if base in self.named and key != f"policies.{base}":
            below = self.options(f"policies.{base}", self.named[base], (*seen, base))
        elif base in PRESETS:
            below = dict(PRESETS[base])
        else:
            known = {**self.named, **PRESETS}
            raise self.error(f"{key}.policy", f"no policy {base!r}: {nearest(str(base), known)}")
        return {**below, **own}

    def function(self, key: str, name: str) -> object:
        module, _, attribute = name.partition(":")
        try:
            return getattr(import_module(module), attribute)
        except (ImportError, AttributeError, ValueError) as error:
            raise self.error(
                key, f"{name!r} cannot be imported ({error}): write 'package.module:name'"
            ) from None

    def error(self, key: str, message: str) -> ConfigurationError:
        return ConfigurationError(f"{self.source}: {key}: {message}")


def _quoted(key: str) -> str:
    return '"' + key + '"'
