"""Entity tags: reading them, comparing them, making one (RFC 9110 §8.8.3).

A tag is kept as the bytes of the wire, `"abc"` or `W/"abc"`. What is not exactly of that form is no
tag and matches nothing, which costs a full response at worst.
"""

import re
from binascii import b2a_base64
from collections.abc import Iterable
from hashlib import sha256

from cachemw.caching.fields import OWS
from cachemw.messages import Headers, lines_of

_URL_SAFE = bytes.maketrans(b"+/", b"-_")
_TAG = re.compile(rb'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"')
# Unlike a quoted string, a tag knows no escapes: its backslash is a backslash.
_MEMBER = re.compile(rb'(?:[^",]++|"[^"]*+"|")++')


def etag_of(headers: Headers) -> bytes | None:
    """The response's one entity tag; None when there is none, several, or a malformed one."""
    if b"etag" not in dict(headers):
        return None
    lines = lines_of(headers, b"etag")
    if any(line != lines[0] for line in lines[1:]):
        return None
    tag = lines[0].strip(OWS)
    return tag if _TAG.fullmatch(tag) else None


def tags(lines: Iterable[bytes]) -> list[bytes]:
    """The well-formed tags of an If-None-Match or If-Match list."""
    found = (member.strip(OWS) for line in lines for member in _MEMBER.findall(line))
    return [member for member in found if _TAG.fullmatch(member)]


def is_strong(tag: bytes) -> bool:
    """Whether the tag promises equality byte for byte."""
    return tag[:1] == b'"'


def match_strongly(one: bytes, other: bytes) -> bool:
    """Strong comparison (§8.8.3.2): equal, and neither is weak."""
    return is_strong(one) and one == other


def match_weakly(one: bytes, other: bytes) -> bool:
    """Weak comparison (§8.8.3.2): equal but for weakness."""
    return one.removeprefix(b"W/") == other.removeprefix(b"W/")


def generate_etag(
    body_digest: bytes, content_encoding: bytes = b"", *, weak: bool = False
) -> bytes:
    """A tag for a body, from its SHA-256 and its coding, equal in every process.

    Different codings of one resource need different strong tags (§8.8.3.3). A weak tag is for
    bodies that another layer may still encode.
    """
    digest = sha256(content_encoding.lower() + b"\0" + body_digest).digest()
    # 128 bits, in the fewest bytes: it is kept with each entry, and sent with each answer.
    opaque = b2a_base64(digest[:16], newline=False).translate(_URL_SAFE).rstrip(b"=")
    return (b'W/"' if weak else b'"') + opaque + b'"'
