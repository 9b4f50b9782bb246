"""What identifies a session, and under which keys the store knows it.

        x7Qd 3kP0...44 characters
        ^^^^ the place: decides the cluster slot, and nothing else
             ^^^ the secret: 264 random bits

An id is 36 bytes in URL-safe base64. Its first three are the *place*. Ids of one place share a
cluster slot, so that a renewal is one atomic step over the old key and the new one; a logged-in
session lives in the place of its subject, beside the index that says which of that subject's
sessions are still good. A place is no secret: it tells 24 bits of a hash of the subject to those
who hold the subject's own cookie.

The store never learns an id, only its SHA-256. Randomness comes in as an argument.
"""

import hmac
import re
from base64 import urlsafe_b64encode
from functools import lru_cache
from hashlib import sha256

ENTROPY = 36  # bytes
PLACE_LENGTH = 4  # characters, for 3 bytes
RECORDS = b"s:"
INDEXES = b"u:"
NONCE = 32  # bytes

_FORM = re.compile(rb"[A-Za-z0-9_-]{48}")


def is_well_formed(candidate: bytes) -> bool:
    """Whether this could be an id of ours at all. What could not never reaches the store."""
    return _FORM.fullmatch(candidate) is not None


def mint(entropy: bytes, *, place: bytes | None = None) -> bytes:
    """A new id from 36 random bytes, in a place of its own or in the given one."""
    if len(entropy) != ENTROPY:
        raise ValueError(f"an id takes {ENTROPY} random bytes, not {len(entropy)}")
    fresh = urlsafe_b64encode(entropy)
    return fresh if place is None else place + fresh[PLACE_LENGTH:]


def successor(session_id: bytes, nonce: bytes) -> bytes:
    """The id that replaces `session_id` at a renewal, in the same place.

    Both halves are random, and the store keeps one only: whoever reads the store cannot compute
    an id, while a client that comes once more with its old one can be handed the new one again.
    """
    digest = hmac.digest(session_id, b"successor" + nonce, "sha512")
    return mint(digest[:ENTROPY], place=place_of(session_id))


def place_of(session_id: bytes) -> bytes:
    """The place an id belongs to."""
    return session_id[:PLACE_LENGTH]


def place_of_subject(subject: str) -> bytes:
    """Where the sessions of one subject live."""
    return urlsafe_b64encode(_subject_hash(subject)[-3:])


@lru_cache(maxsize=4096)  # asked for with each request of theirs
def digest_of_subject(subject: str) -> bytes:
    """How a subject is written at rest."""
    return _subject_hash(subject)[:16].hex().encode()


def record_key(session_id: bytes) -> bytes:
    """The key of a session's record."""
    return RECORDS + b"{" + place_of(session_id) + b"}:" + sha256(session_id).hexdigest().encode()


def index_key(place: bytes) -> bytes:
    """The key of the index of a place: which sessions of which subjects are still good."""
    return INDEXES + b"{" + place + b"}"


def _subject_hash(subject: str) -> bytes:
    return sha256(b"cachemw session subject\0" + subject.encode("utf-8", "surrogatepass")).digest()
