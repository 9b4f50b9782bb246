"""Bodies kept small, where it pays.

Which way a body was compressed stands in the flags of its record. Each way has limits when it is
read: a small body that wants to become huge, or to be given much memory, is not ours.

zlib is everywhere. zstd, which comes out smaller and takes half the time, is Python's own from
3.14 on and before that the extra `[zstd]`. Where it is missing, what others have written with it
cannot be read, which is a miss, and a policy that asks for it is refused.
"""

import sys
import zlib
from importlib import import_module
from typing import Any, Literal, TypeAlias

from cachemw.errors import UnreadableEntry

Compression: TypeAlias = Literal["zlib", "zstd"]

ZLIB, ZSTD = 2, 4  # flags of a record
ANY = ZLIB | ZSTD
WORTH_IT = 1024  # bytes; below, the time is better spent elsewhere
MOST = 64 * 1024 * 1024  # bytes that a body may become when it is read
_WINDOW = 23  # so many bits of window, 8 MiB, a zstd frame may ask for; what we write asks for less


def _load() -> Any:
    try:
        return import_module(
            "compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd"
        )
    except ImportError:
        return None


_zstd = _load()


def zstd() -> Any:
    """The module, None where it is not installed."""
    return _zstd


def compressed(body: bytes, how: Compression | None) -> tuple[int, bytes]:
    """The flag and the bytes under which a body is kept."""
    if how is None or not WORTH_IT <= len(body) <= MOST:
        return 0, body
    flag, smaller = (
        (ZLIB, zlib.compress(body, 1)) if how == "zlib" else (ZSTD, _zstd.compress(body))
    )
    return (flag, smaller) if len(smaller) < 0.8 * len(body) else (0, body)


def decompressed(flags: int, body: bytes) -> bytes:
    """The body that was kept under these flags; `UnreadableEntry` if it is none."""
    match flags & ANY:
        case 0:
            return body
        case 2:
            decoder, failure = zlib.decompressobj(), zlib.error
        case 4 if _zstd is not None:
            options = {_zstd.DecompressionParameter.window_log_max: _WINDOW}
            decoder, failure = _zstd.ZstdDecompressor(options=options), _zstd.ZstdError
        case _:
            raise UnreadableEntry("compressed in a way that is not known here")
    try:
        result: bytes = decoder.decompress(body, MOST)
    except failure as error:
        raise UnreadableEntry(str(error)) from error
    if not decoder.eof or decoder.unused_data:
        raise UnreadableEntry("the compressed body is incomplete, or far too large")
    return result
