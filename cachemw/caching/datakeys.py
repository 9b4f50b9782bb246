"""The names of the data cache on the server, and the patterns that find them.

    d:{key}      an entry, or a refusal
    dl:{key}     who is making or writing it (`leases.py`, `writes.py`)

A key is the caller's text made printable: different keys are kept apart whatever is in them, and a
pattern sees the text. Of a key longer than 200 bytes the end is a digest, so that patterns see
only how it begins.
"""

from urllib.parse import unquote

from cachemw.caching.tags import tag_bytes
from cachemw.errors import ConfigurationError

_WILD = "*?[]\\^-"


def data_key(key: str) -> bytes:
    """Where an entry is kept."""
    return b"d:{%b}" % _safe(key)


def holders_key(key: str) -> bytes:
    """Where it is kept who is making or writing an entry."""
    return b"dl:{%b}" % _safe(key)


def key_text(stored: bytes) -> str:
    """The key that `data_key` was given, as far as it was kept."""
    return unquote(stored[3:-1].decode("ascii"), errors="surrogatepass")


def literal(text: str) -> str:
    """`text` with nothing wild in it, for use within a pattern: `f"user:{literal(name)}:*"`."""
    return "".join("\\" + char if char in _WILD else char for char in text)


def pattern_key(pattern: str) -> bytes:
    """The server's pattern for one of keys: `*`, `?` and `[abc]` are wild, `\\` makes them plain.

    `?` stands for a printable ASCII character; any other one is kept as three bytes or more.
    """
    parts: list[bytes] = []
    is_plain = in_class = False
    for char in pattern:
        if char in _WILD and not is_plain:
            is_plain = char == "\\"
            in_class = char == "[" or (in_class and char != "]")
            parts.append(b"" if is_plain else char.encode())
            continue
        stored = _safe(char)
        if in_class and len(stored) > 1:
            raise ConfigurationError(
                f"pattern {pattern!r}: {char!r} cannot stand in brackets; write it outside of them"
            )
        parts.append(literal(stored.decode()).encode())
        is_plain = False
    if not parts:
        raise ConfigurationError("the pattern is empty: '*' stands for all keys")
    return b"d:{%b}" % b"".join(parts)


def _safe(key: str) -> bytes:
    if not key:
        raise ConfigurationError("a key is empty: give it a name such as 'user:1001'")
    # Braces would decide where a cluster keeps the entry.
    return tag_bytes(key).replace(b"{", b"%7B").replace(b"}", b"%7D")
