"""Sending purge orders to an app that takes them over HTTP (`endpoint.py`)."""

import asyncio
import http.client
import secrets
import ssl
import time
from collections.abc import Iterable
from urllib.parse import urlsplit

import msgspec

from cachemw.caching.endpoint import LONGEST, Order
from cachemw.caching.signing import checked_keys, signed
from cachemw.errors import ConfigurationError, StoreUnavailable

TIMEOUT = 30.0  # seconds


class Said(msgspec.Struct):
    """What the other side answers."""

    found: int = -1
    error: str = ""


_decode = msgspec.json.Decoder(Said).decode


class PurgeClient:
    """Sends orders to a `PurgeEndpoint`. `key` is `"id:secret"`."""

    def __init__(self, url: str, key: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise ConfigurationError(f"{url!r} is no place: write it like https://host/purge")
        self._parts = parts
        self._key_id, _, secret = key.partition(":")
        self._secret = checked_keys({self._key_id: secret})[self._key_id]

    async def purge(
        self,
        *,
        tags: str | Iterable[str] = (),
        urls: str | Iterable[str] = (),
        keys: str | Iterable[str] = (),
        namespaces: str | Iterable[str] = (),
        routes: str | Iterable[str] = (),
        soft: bool = False,
    ) -> int:
        """Have something purged, as `Cache.purge` would. How many were found by URL and key.

        Raises `StoreUnavailable` when nobody can say that it was done: then purge again. An order
        that the other side does not take raises `ConfigurationError` with what it said.
        """
        order = Order(
            _texts(tags), _texts(urls), _texts(keys), _texts(namespaces), _texts(routes), soft
        )
        body = msgspec.json.encode(order)
        status, answer = await asyncio.to_thread(self._post, body)
        try:
            said = _decode(answer)
        except msgspec.MsgspecError:
            said = Said(error=f"this is no answer of a purge endpoint: {answer[:80]!r}")
        if status == 200 and said.found >= 0:
            return said.found
        told = f"{status}: {said.error}"
        raise StoreUnavailable("refused", told) if status >= 500 else ConfigurationError(told)

    def _post(self, body: bytes) -> tuple[int, bytes]:
        parts, nonce = self._parts, secrets.token_urlsafe(24)
        signature = signed(
            self._key_id, self._secret, body, time=int(time.time()), nonce=nonce
        ).to_header()
        connection = (
            http.client.HTTPSConnection(
                parts.netloc, timeout=TIMEOUT, context=ssl.create_default_context()
            )
            if parts.scheme == "https"
            else http.client.HTTPConnection(parts.netloc, timeout=TIMEOUT)
        )
        headers = {"Authorization": signature, "Content-Type": "application/json"}
        target = parts._replace(scheme="", netloc="", fragment="").geturl() or "/"
        try:
            connection.request("POST", target, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read(LONGEST)
        except (OSError, http.client.HTTPException) as error:
            raise StoreUnavailable("connection", f"{parts.netloc}: {error}") from error
        finally:
            connection.close()


def _texts(given: str | Iterable[str]) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else tuple(given)
