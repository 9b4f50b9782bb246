"""HTTP-date to seconds and back (RFC 9110 §5.6.7), without a locale or a time zone.

All three formats are read, in any case, and nothing looser: a date in another zone, with dashes or
a one-digit hour is no date, since guessing wrong would prolong a lifetime. A wrong day of the week
is overlooked.
"""

import re
from datetime import UTC, date, datetime
from functools import lru_cache

from cachemw.caching.fields import OWS

_MONTHS = b"jan feb mar apr may jun jul aug sep oct nov dec".split()
_MONTH_NUMBER = {name: number for number, name in enumerate(_MONTHS, 1)}
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")

_DAY = rb"(?:mon|tue|wed|thu|fri|sat|sun)"
_DAY_IN_FULL = rb"(?:monday|tuesday|wednesday|thursday|friday|saturday|sunday)"
_MONTH = rb"(" + rb"|".join(_MONTHS) + rb")"
_TIME = rb"([0-9]{2}):([0-9]{2}):([0-9]{2})"
_IMF = re.compile(_DAY + rb", ([0-9]{2}) " + _MONTH + rb" ([0-9]{4}) " + _TIME + rb" gmt")
_RFC850 = re.compile(
    _DAY_IN_FULL + rb", ([0-9]{2})-" + _MONTH + rb"-([0-9]{2}) " + _TIME + rb" gmt"
)
_ASCTIME = re.compile(_DAY + rb" " + _MONTH + rb" ([0-9 ][0-9]) " + _TIME + rb" ([0-9]{4})")

_LONGEST = len(b"Wednesday, 06-Nov-94 08:49:37 GMT")
_EPOCH_DAY = date(1970, 1, 1).toordinal()
_FIFTY_YEARS = 50 * 365.2425 * 86400


def parse_date(value: bytes, *, now: float) -> int | None:
    """Seconds since the epoch, None for what is no date. Only two-digit years look at `now`."""
    text = value.strip(OWS)
    if len(text) > _LONGEST:
        return None
    moment = _parse_full(text)
    return moment if moment is not None else _parse_rfc850(text.lower(), now)


@lru_cache(maxsize=1024)
def _parse_full(text: bytes) -> int | None:
    """The two formats whose years have four digits. A process sees the same few dates often."""
    if imf := _IMF.fullmatch(lowered := text.lower()):
        day, month, year, *clock = imf.groups()
    elif asctime := _ASCTIME.fullmatch(lowered):
        month, day, *clock, year = asctime.groups()
    else:
        return None
    return _moment(int(year), month, int(day), clock)


def _parse_rfc850(lowered: bytes, now: float) -> int | None:
    found = _RFC850.fullmatch(lowered)
    if found is None:
        return None
    day, month, year, *clock = found.groups()
    this_year = datetime.fromtimestamp(now, UTC).year
    century = this_year - this_year % 100
    for base in (century + 100, century, century - 100):
        moment = _moment(base + int(year), month, int(day), clock)
        # RFC 9110 §5.6.7: more than 50 years ahead means the most recent such year in the past.
        if moment is not None and moment <= now + _FIFTY_YEARS:
            return moment
    return None


def _moment(year: int, month: bytes, day: int, clock: list[bytes]) -> int | None:
    hour, minute, second = map(int, clock)
    if hour > 23 or minute > 59 or second > 60:  # 60 is a leap second
        return None
    try:
        days = date(year, _MONTH_NUMBER[month], day).toordinal() - _EPOCH_DAY
    except ValueError:  # 30 February, year 0
        return None
    return days * 86400 + hour * 3600 + minute * 60 + second


@lru_cache(maxsize=64)
def format_date(moment: int) -> bytes:
    """The moment as IMF-fixdate, the one format that may be sent."""
    when = datetime.fromtimestamp(moment, UTC)
    month = _MONTHS[when.month - 1].decode().capitalize()
    text = f"{_DAYS[when.weekday()]}, {when.day:02} {month} {when.year:04} {when:%H:%M:%S} GMT"
    return text.encode()
