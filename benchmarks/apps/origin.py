"""What every subject serves: documents of a size, each with its number in it.

The load generator knows them too, so that an answer that belongs to another path is found out. A
handler that runs says so with `ran()`, which adds one byte to a file that all workers share.
"""

import json
import os
from functools import lru_cache
from typing import Any

KIB = 1024
SIZES = {"item": KIB, "big": 64 * KIB}

_RUNS = os.environ.get("BENCH_RUNS")
_runs = os.open(_RUNS, os.O_WRONLY | os.O_APPEND | os.O_CREAT) if _RUNS else -1


def ran() -> None:
    """Count one run of a handler."""
    if _runs >= 0:
        os.write(_runs, b".")


def document(number: int, size: int = KIB) -> dict[str, Any]:
    """A product with its reviews, which is JSON of exactly `size` bytes."""
    made = dict(_template(size))
    made["id"] = f"{number:010d}"
    return made


@lru_cache(maxsize=4096)
def body(number: int, size: int = KIB) -> bytes:
    """The same as bytes."""
    before, after = _around(size)
    return b"%b%010d%b" % (before, number, after)


@lru_cache
def _template(size: int) -> dict[str, Any]:
    made: dict[str, Any] = {"id": "0000000000", "name": "Teapot", "reviews": [], "note": ""}
    each = len(_packed(_review(0))) + 1  # they are all of one length
    most = (size - 150 - len(_packed(made))) // each + 1
    made["reviews"] = [_review(turn) for turn in range(most)]
    made["note"] = "." * (size - len(_packed(made)))
    return made


def _review(turn: int) -> dict[str, Any]:
    return {"by": f"user{turn:05d}", "stars": turn % 5 + 1, "price": 12.5, "words": "fine"}


@lru_cache
def _around(size: int) -> tuple[bytes, bytes]:
    before, _, after = _packed(_template(size)).partition(b"0000000000")
    return before, after


def _packed(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
