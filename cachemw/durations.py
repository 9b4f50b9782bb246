"""Spans of time as people write them: `"5m"`, `"1h30m"`, `90`, `timedelta(minutes=5)`.

Everywhere else a duration is a float of seconds; the store alone counts in milliseconds.
"""

import math
import re
from datetime import timedelta
from typing import Annotated, TypeAlias

from pydantic import BeforeValidator

from cachemw.errors import ConfigurationError

DurationLike: TypeAlias = float | int | str | timedelta

LONGEST = 2**31  # seconds; what HTTP counts up to, and what servers can expire

_SECONDS_OF = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|[smhdw])")
_FIX = "write it like '500ms', '30s', '5m', '1h30m', '7d', or as a number of seconds"


def seconds(value: DurationLike) -> float:
    """The duration in seconds; `ConfigurationError` when it is none, negative or beyond any use."""
    if isinstance(value, timedelta):
        result = value.total_seconds()
    elif isinstance(value, bool):
        raise ConfigurationError(f"{value!r} is not a duration: {_FIX}")
    elif isinstance(value, int | float):
        result = float(value)
    else:
        result = _parse(value)
    if not math.isfinite(result) or result < 0:
        raise ConfigurationError(f"{value!r} is not a duration: it must be finite and not negative")
    if result > LONGEST:
        raise ConfigurationError(f"{value!r} is not a duration: 68 years are the longest")
    return result


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
