"""Amounts of memory as people write them: `"2MiB"`, `"64KB"`, `4096`."""

import re

from cachemw.errors import ConfigurationError

_BYTES_OF = {
    "": 1,
    "b": 1,
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
    "kib": 2**10,
    "mib": 2**20,
    "gib": 2**30,
}


def size(value: int | str) -> int:
    """The number of bytes; `ConfigurationError` when it is none, or negative."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?([a-z]*)", str(value).strip().lower())
    if found is None or found[2] not in _BYTES_OF:
        raise ConfigurationError(f"{value!r} is not a size: write it like '64KiB', '2MiB' or 4096")
    return int(float(found[1]) * _BYTES_OF[found[2]])
