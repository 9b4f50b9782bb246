"""Encryption at rest with AES-GCM, for those whose store is not to be trusted with what users do.

    0x01  nonce (12 bytes)  ciphertext and tag

Each value has a key of its own, derived from ours, the session's handle and the field, so that
random nonces cannot run out, and a value opens only where it was sealed. The first key seals, all
of them open: to change the key, put the new one in front, and drop the old one once `absolute` has
passed. Needs the package `cryptography`.
"""

import os
from base64 import urlsafe_b64decode
from collections.abc import Iterable
from hashlib import sha256

from cachemw.errors import ConfigurationError

_FORMAT = b"\x01"
_NONCE = 12
_TAG = 16


class AesGcm:
    """A `Cipher`. Keys are 32 bytes in URL-safe base64, the newest first."""

    overhead = len(_FORMAT) + _NONCE + _TAG

    def __init__(self, keys: Iterable[str]) -> None:
        try:
            from cryptography.exceptions import InvalidTag
            from cryptography.hazmat.primitives.ciphers.aead import AESGCM
        except ImportError:
            raise ConfigurationError(
                "encryption_keys need the package cryptography: pip install cryptography"
            ) from None
        self._invalid = InvalidTag
        self._aead = AESGCM
        self._keys = [_decoded(number, key) for number, key in enumerate(keys, start=1)]

    def seal(self, plain: bytes, context: bytes) -> bytes:
        nonce = os.urandom(_NONCE)
        sealed = self._aead(_derived(self._keys[0], context)).encrypt(nonce, plain, context)
        return _FORMAT + nonce + sealed

    def open(self, sealed: bytes, context: bytes) -> bytes:
        nonce, body = sealed[1 : 1 + _NONCE], sealed[1 + _NONCE :]
        if sealed[:1] == _FORMAT and len(body) >= _TAG:
            for key in self._keys:
                try:
                    return self._aead(_derived(key, context)).decrypt(nonce, body, context)
                except self._invalid:
                    continue
        raise ValueError("no key of ours opens it")


def _derived(key: bytes, context: bytes) -> bytes:
    return sha256(b"cachemw session value\0" + key + context).digest()


def _decoded(number: int, key: str) -> bytes:
    try:
        raw = urlsafe_b64decode(key)
    except ValueError:
        raw = b""
    if len(raw) != 32:
        raise ConfigurationError(
            f"encryption key {number} is not 32 bytes in URL-safe base64; make one with "
            "base64.urlsafe_b64encode(os.urandom(32)).decode()"
        )
    return raw
