"""A limit as people write it: `"100/minute"`, `"50/10s"`, `"5 per 30 seconds"`.

Owns the grammar and what to answer when somebody departs from it. Knows nothing of who is being
limited, or where the counting happens.
"""

import re
from collections.abc import Sequence
from difflib import get_close_matches
from functools import lru_cache
from typing import NamedTuple, TypeAlias

from cachemw.errors import ConfigurationError

LimitLike: TypeAlias = "str | Limit"

_SPELLINGS = {
    "second": ("s", "sec", "secs", "second", "seconds"),
    "minute": ("m", "min", "mins", "minute", "minutes"),
    "hour": ("h", "hr", "hrs", "hour", "hours"),
    "day": ("d", "day", "days"),
    "week": ("w", "week", "weeks"),
}
_SECONDS = {"second": 1, "minute": 60, "hour": 3600, "day": 86_400, "week": 604_800}
_UNIT_OF = {spelling: unit for unit, spellings in _SPELLINGS.items() for spelling in spellings}
_IN_DAYS = {"fortnight": 14, "month": 30, "quarter": 90, "year": 365}

_SHAPE = re.compile(
    r"\s*([+-]?[\d_.,]+)\s*(?:/|per\b)\s*([+-]?[\d_.]*)\s*([a-z]*)\s*", re.IGNORECASE
)
_FORMS = "write it like '100/minute', '50/10s' or '5 per 30 seconds'"

LARGEST_QUOTA = 1_000_000_000
LONGEST_SPAN = 366 * 86_400_000


class Limit(NamedTuple):
    """So much in so long: `quota` units within `span` milliseconds."""

    quota: int
    span: int

    def __str__(self) -> str:
        return f"{self.quota}/{self.label}"

    @property
    def label(self) -> str:
        """The span in a word that can be read again: `"minute"`, `"10s"`."""
        for unit, size in reversed(_SECONDS.items()):
            times, rest = divmod(self.span, size * 1000)
            if times and not rest:
                return unit if times == 1 else f"{times}{unit[0]}"
        return f"{self.span}ms"


@lru_cache(maxsize=1024)
def parse_limit(text: str) -> Limit:
    """The limit that `text` spells; `ConfigurationError` names the nearest form that is one."""
    shape = _SHAPE.fullmatch(text)
    if shape is None:
        raise ConfigurationError(f"{text!r} is not a limit: {_FORMS}")
    amount, multiple, spelling = shape.groups()
    unit = _UNIT_OF.get(spelling.lower())
    if unit is None:
        raise ConfigurationError(f"{text!r} is not a limit: {_about_unit(amount, spelling)}")
    quota = _count(text, amount, f"{amount.lstrip('+-')}/{multiple}{unit}")
    times = _count(text, multiple, f"{amount}/{unit}") if multiple else 1
    limit = Limit(quota, times * _SECONDS[unit] * 1000)
    if quota > LARGEST_QUOTA:
        raise ConfigurationError(f"{text!r} allows more than a billion: use no limit instead")
    if limit.span > LONGEST_SPAN:
        raise ConfigurationError(f"{text!r} spans more than a year: '{quota}/366 days' is the most")
    return limit


def parse_limits(sources: Sequence[LimitLike]) -> tuple[Limit, ...]:
    """All limits of one rule: at least one, and no two over the same span."""
    limits = tuple(parse_limit(item) if isinstance(item, str) else item for item in sources)
    for index, limit in enumerate(limits):
        for other in limits[:index]:
            if other.span == limit.span:
                raise ConfigurationError(
                    f"'{other}' and '{limit}' limit the same span twice: "
                    f"keep '{min(other, limit, key=lambda each: each.quota)}'"
                )
    return limits


def _count(text: str, digits: str, nearest: str) -> int:
    plain = digits.replace("_", "")
    if re.fullmatch(r"\+?\d{1,15}", plain):
        number = int(plain)
        if number > 0:
            return number
        raise ConfigurationError(
            f"{text!r} is not a limit: it admits nothing; the least is "
            f"'{re.sub('0+', '1', nearest, count=1)}' (to close a route, remove it)"
        )
    if plain.startswith("-"):
        raise ConfigurationError(
            f"{text!r} is not a limit: it is negative; did you mean '{nearest}'?"
        )
    raise ConfigurationError(
        f"{text!r} is not a limit: {digits!r} is no whole number; "
        "use a longer span instead, like '3/2 minutes' for 1.5 a minute"
    )


def _about_unit(amount: str, spelling: str) -> str:
    if not spelling:
        return f"it has no unit of time; did you mean '{amount}/minute'?"
    length = _IN_DAYS.get(spelling.lower().removesuffix("s"))
    if length is not None:
        return f"{spelling!r} is no unit; did you mean '{amount}/{length} days'?"
    nearest = get_close_matches(spelling.lower(), _UNIT_OF, n=1)
    if nearest:
        return f"{spelling!r} is no unit; did you mean '{amount}/{_UNIT_OF[nearest[0]]}'?"
    return f"{spelling!r} is none of second, minute, hour, day, week; {_FORMS}"
