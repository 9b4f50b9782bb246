"""Spans of time as people write them: `"5m"`, `"1h30m"`, `90`, `timedelta(minutes=5)`.

Everywhere else a duration is a float of seconds; the store alone counts in milliseconds.
"""

import math
import re
from datetime import timedelta
from functools import lru_cache
from typing import Annotated, TypeAlias, cast

from pydantic import BeforeValidator

from cachemw.errors import ConfigurationError

DurationLike: TypeAlias = float | int | str | timedelta

LONGEST = 2**31  # seconds; what HTTP counts up to, and what servers can expire

_SECONDS_OF = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|[smhdw])")
_FIX = "write it like '500ms', '30s', '5m', '1h30m', '7d', or as a number of seconds"


def seconds(value: DurationLike) -> float:
    """The duration in seconds; `ConfigurationError` when it is none, negative or beyond any use."""
    given = cast(object, value)  # callers may have no type checker
    if isinstance(given, timedelta):
        result = given.total_seconds()
    elif isinstance(given, str):
        result = _parse(given)
    elif isinstance(given, int | float) and not isinstance(given, bool):
        result = float(given)
    else:
        raise ConfigurationError(f"{value!r} is not a duration: {_FIX}")
    if not math.isfinite(result) or result < 0:
        raise ConfigurationError(f"{value!r} is not a duration: it must be finite and not negative")
    if result > LONGEST:
        raise ConfigurationError(f"{value!r} is not a duration: 68 years are the longest")
    return result


@lru_cache  # loaders are given the same few with each call
def _parse(text: str) -> float:
    compact = text.replace(" ", "").lower()
    if re.fullmatch(r"\d+(\.\d+)?", compact):
        return float(compact)
    parts = _PART.findall(compact)
    if not parts or "".join(number + unit for number, unit in parts) != compact:
        raise ConfigurationError(f"{text!r} is not a duration: {_FIX}")
    return sum(float(number) * _SECONDS_OF[unit] for number, unit in parts)


def words(value: float) -> str:
    """The shortest spelling of a duration: `90.0` is `"1m30s"`."""
    milliseconds = round(value * 1000)
    parts: list[str] = []
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)):
        count, milliseconds = divmod(milliseconds, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


Duration = Annotated[float, BeforeValidator(seconds)]
"""A pydantic field that accepts every spelling and holds seconds."""
