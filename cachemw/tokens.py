"""Tokens that work once: for verifying an address, resetting a password, inviting somebody.

    verification = Tokens(store, purpose="verify-email", ttl="24h")
    token = await verification.issue("ada@example.org")      # into the link
    subject = await verification.consume(token)              # once; None ever after

What is kept is a digest, so that whoever reads the store can consume nothing. There is one token at
a time for each subject and purpose: issuing another one voids it. A wrong guess costs one of
`max_attempts`, after which the token is void; of a long token a guess counts only with its locator,
so that nobody can void what he has never seen.

    long token   base64url of: digest of the subject (16), locator (8), secret (32)
    code         some digits, to be typed: needs the subject when it is consumed

    k:{digest}   a hash: i locator, h digest of the secret, d what is handed out, n attempts left

Both verbs raise `StoreUnavailable`: of a token that nobody can check, nothing is known.
"""

import binascii
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from hashlib import blake2b
from typing import Any

from cachemw.caching.values import codec_of
from cachemw.durations import DurationLike, seconds
from cachemw.errors import ConfigurationError, UnreadableEntry
from cachemw.scripts import Keyspace, Reply, Script, WrongType
from cachemw.stores.base import Store

DIGEST, LOCATOR, SECRET = 16, 8, 32


class Tokens:
    """One-time tokens of one purpose.

    With `digits`, they are codes to be typed. A code can be guessed, so that `max_attempts` is all
    that protects it, and anybody who knows the subject can use these up.
    """

    def __init__(
        self,
        store: Store,
        *,
        purpose: str,
        ttl: DurationLike = "15m",
        max_attempts: int = 5,
        digits: int | None = None,
        type: Any = None,
    ) -> None:
        if digits is not None and not 6 <= digits <= 18:
            raise ConfigurationError(f"digits={digits}: a code has 6 to 18 of them")
        if max_attempts < 1 or seconds(ttl) <= 0:
            raise ConfigurationError("max_attempts and ttl must be more than 0")
        self._store = store
        self._purpose = blake2b(purpose.encode("utf-8", "surrogatepass"), digest_size=32).digest()
        self._ttl = seconds(ttl)
        self._max_attempts = max_attempts
        self._digits = digits
        self._codec = codec_of(type)

    async def issue(self, subject: str, data: Any = None) -> str:
        """A new token for a subject; older ones are void. `data` is what `consume` will answer,
        or else the subject."""
        digest = self._digest(subject)
        payload = codec_of(None).encode(subject) if data is None else self._codec.encode(data)
        if self._digits is None:
            locator, secret = secrets.token_bytes(LOCATOR), secrets.token_bytes(SECRET)
            token = urlsafe_b64encode(digest + locator + secret).rstrip(b"=").decode()
        else:
            token = f"{secrets.randbelow(10**self._digits):0{self._digits}}"
            locator, secret = b"", token.encode()
        kind = b"d" if data is not None else b"s"
        kept = (locator, _hash(digest, secret), kind + payload, b"%d" % self._max_attempts)
        await self._store.run(ISSUE, (self._key(digest),), (*kept, b"%d" % (self._ttl * 1000)))
        return token

    async def consume(self, token: str, *, subject: str | None = None) -> Any:
        """What was issued with a token, the first time; None for whatever is not valid (any more).

        A code needs its subject; a long token brings it, and must agree with one that is given.
        """
        found = self._parts(token.strip(), subject)
        if found is None:
            return None
        digest, locator, secret = found
        if subject is not None and digest != self._digest(subject):
            return None
        args = (locator, _hash(digest, secret))
        kept = await self._store.run(REDEEM, (self._key(digest),), args)
        if not isinstance(kept, bytes):
            return None
        codec = codec_of(None) if kept[:1] == b"s" else self._codec
        try:
            return codec.decode(kept[1:])
        except UnreadableEntry:
            return None

    async def revoke(self, subject: str) -> bool:
        """Void the token of a subject. False when there was none."""
        return await self._store.delete([self._key(self._digest(subject))]) > 0

    def _digest(self, subject: str) -> bytes:
        text = subject.encode("utf-8", "surrogatepass")
        return blake2b(text, key=self._purpose, digest_size=DIGEST).digest()

    def _key(self, digest: bytes) -> bytes:
        """Where a subject's token is kept. The purpose counts again: the digest came with a token,
        and may be one that was issued for something else."""
        return b"k:{%b}" % blake2b(digest, key=self._purpose, digest_size=16).hexdigest().encode()

    def _parts(self, token: str, subject: str | None) -> tuple[bytes, bytes, bytes] | None:
        """The digest, the locator and the secret that a token consists of."""
        if self._digits is not None:
            if subject is None:
                raise ConfigurationError("a code says not whose it is: consume(code, subject=...)")
            is_code = len(token) == self._digits and token.isascii() and token.isdigit()
            return (self._digest(subject), b"", token.encode()) if is_code else None
        try:
            raw = urlsafe_b64decode(token.encode("ascii") + b"=" * (-len(token) % 4))
        except (binascii.Error, ValueError):
            return None
        if len(raw) != DIGEST + LOCATOR + SECRET:
            return None
        return raw[:DIGEST], raw[DIGEST : DIGEST + LOCATOR], raw[DIGEST + LOCATOR :]


def _hash(digest: bytes, secret: bytes) -> bytes:
    return blake2b(secret, key=digest, digest_size=32).digest()


# --- the scripts; see the Lua for why each must be atomic


def _issue(keyspace: Keyspace, keys: Sequence[bytes], args: Sequence[bytes]) -> Reply:
    locator, digest, payload, attempts, lives = args
    keyspace.delete(keys[0])
    keyspace.hset(keys[0], {b"i": locator, b"h": digest, b"d": payload, b"n": attempts})
    keyspace.expire(keys[0], int(lives))
    return 1


def _redeem(keyspace: Keyspace, keys: Sequence[bytes], args: Sequence[bytes]) -> Reply:
    try:
        held = keyspace.hgetall(keys[0])
    except WrongType:
        return None
    if len(held) != 4 or held[b"i"] != args[0]:
        return None
    if held[b"h"] == args[1]:
        keyspace.delete(keys[0])
        return held[b"d"]
    left = int(held[b"n"]) - 1
    if left > 0:
        keyspace.hset(keys[0], {b"n": b"%d" % left})
    else:
        keyspace.delete(keys[0])
    return None


ISSUE = Script.load("cachemw.caching", "issue", _issue)
REDEEM = Script.load("cachemw.caching", "redeem", _redeem)
