"""Signatures of purge orders that travel over HTTP. Pure: instants and nonces are arguments.

    Authorization: Cachemw-HMAC-SHA256 key=ci, time=1765000000, nonce=0dAfN3..., mac=3f0c...

The MAC covers the key's id, the time, the nonce and the body, each behind its length. Whoever knows
the secret may purge; nobody else can make, change, or, within the bounds of time and nonce, repeat
an order.
"""

import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto

from cachemw.errors import ConfigurationError

SCHEME = "Cachemw-HMAC-SHA256"
SHORTEST_SECRET = 32  # characters
_PURPOSE = b"cachemw purge order, version 1"
_KEY_ID = r"[A-Za-z0-9._-]{1,64}"
_FORM = re.compile(
    rf"{SCHEME} key=({_KEY_ID}), time=(\d{{1,12}}), nonce=([A-Za-z0-9_-]{{16,64}}), "
    r"mac=([0-9a-f]{64})"
)


@dataclass(frozen=True, slots=True)
class Signature:
    """What the header of an order says."""

    key_id: str
    time: int
    """Seconds since the epoch, when it was signed."""
    nonce: str
    mac: str

    def to_header(self) -> str:
        said = f"key={self.key_id}, time={self.time}, nonce={self.nonce}, mac={self.mac}"
        return f"{SCHEME} {said}"

    @classmethod
    def from_header(cls, text: str) -> "Signature | None":
        """None for anything that is not exactly of this form."""
        found = _FORM.fullmatch(text)
        return cls(found[1], int(found[2]), found[3], found[4]) if found else None


class Verdict(Enum):
    """Whether an order is to be believed."""

    GOOD = auto()
    FORGED = auto()
    """The key is unknown, or the MAC is not of this key, time, nonce and body."""
    UNTIMELY = auto()
    """Signed by somebody who knows the secret, too long ago or ahead of time."""


def signed(key_id: str, secret: str, body: bytes, *, time: int, nonce: str) -> Signature:
    """The signature of an order."""
    return Signature(key_id, time, nonce, _mac(secret, key_id, time, nonce, body))


def judge(
    signature: Signature, keys: Mapping[str, str], body: bytes, *, now: float, window: float
) -> Verdict:
    """Whether this is the signature of this body, by one of these keys, of about now."""
    secret = keys.get(signature.key_id)
    # An unknown key takes as long as a known one, so that nobody can find out which ids there are.
    known = secret if secret is not None else "\0" * SHORTEST_SECRET
    expected = _mac(known, signature.key_id, signature.time, signature.nonce, body)
    is_equal = hmac.compare_digest(expected, signature.mac)
    if secret is None or not is_equal:
        return Verdict.FORGED
    return Verdict.GOOD if abs(now - signature.time) <= window else Verdict.UNTIMELY


def checked_keys(keys: Mapping[str, str]) -> dict[str, str]:
    """Keys by their ids; `ConfigurationError` for one that is no id, or too short a secret."""
    if not keys:
        raise ConfigurationError("no keys: give one for each who may purge, keys={'ci': secret}")
    for key_id, secret in keys.items():
        if not re.fullmatch(_KEY_ID, key_id):
            raise ConfigurationError(f"{key_id!r} is no id of a key: up to 64 of A-Z a-z 0-9 . _ -")
        if len(secret) < SHORTEST_SECRET:
            raise ConfigurationError(
                f"the secret of key {key_id!r} is shorter than {SHORTEST_SECRET} characters: "
                "python3 -c 'import secrets; print(secrets.token_urlsafe(32))' makes one"
            )
    return dict(keys)


def _mac(secret: str, key_id: str, time: int, nonce: str, body: bytes) -> str:
    parts = (_PURPOSE, key_id.encode(), str(time).encode(), nonce.encode(), body)
    framed = b"".join(len(part).to_bytes(8, "big") + part for part in parts)
    return hmac.digest(secret.encode(), framed, "sha256").hex()
