"""Who may look, and whether a POST is what the person in front of the browser wanted.

Without an `auth` callable only this very machine may look. That a peer is 127.0.0.1 proves little:
a proxy on the machine has that address, too, and so has a page that rebound its own name to it. So
whatever speaks of a proxy, and any Host but this machine's own names, makes a request not local.

A POST must come from a page of the dashboard: the browser says so (`Sec-Fetch-Site`, which no page
can write, else `Origin`), and the form repeats what the cookie is made into. Both are needed.

Everything here is decided from headers and addresses; nothing waits.
"""

import hashlib
import hmac
import secrets
from collections.abc import Mapping
from ipaddress import IPv6Address, ip_address
from typing import Any

from cachemw.clientip import TrustedProxies, parse_address
from cachemw.messages import Headers, first_of, lines_of

COOKIE = "cachemw_dashboard"
FIELD = "token"

# Fields that proxies write. A browser that talks to us directly sends none of them.
_FORWARDING = frozenset(
    (
        *(b"forwarded", b"via", b"x-real-ip", b"x-client-ip", b"x-cluster-client-ip"),
        *(b"true-client-ip", b"cf-connecting-ip", b"cf-ray", b"fastly-client-ip", b"cdn-loop"),
        *(b"x-appengine-user-ip", b"x-azure-clientip", b"x-amzn-trace-id", b"x-request-start"),
        *(b"x-original-host", b"x-original-url", b"x-rewrite-url", b"x-scheme"),
    )
)
_FORWARDING_FAMILIES = (b"x-forwarded", b"x-envoy-", b"x-arr-", b"fly-", b"x-vercel-")


def not_local(scope: Mapping[str, Any], proxies: TrustedProxies) -> str | None:
    """Why a request does not count as one of this machine's own, None when it does.

    `proxies` are those that the app trusts: whoever comes from one of them is somebody else.
    """
    client = scope.get("client")
    peer = parse_address(client[0]) if client else None
    if peer is None or not peer.is_loopback:
        return "it came from another machine, or nobody knows from where"
    if proxies.trusts(peer):
        return "its peer is one of the trusted proxies"
    for name, _ in scope["headers"]:
        if name in _FORWARDING or name.startswith(_FORWARDING_FAMILIES):
            return f"a proxy has passed it on ({name.decode('latin-1')})"
    if scope.get("http_version") == "1.0":
        return "it speaks HTTP/1.0, as proxies do and browsers do not"
    hosts = lines_of(scope["headers"], b"host")
    if len(hosts) != 1 or not _names_this_machine(hosts[0]):
        return "its Host is not localhost or a loopback address"
    return None


def _names_this_machine(host: bytes) -> bool:
    """Whether a Host can only mean this machine, so that no foreign name was bound to it."""
    text = host.decode("latin-1").lower()
    if text.startswith("["):
        name, bracket, port = text[1:].partition("]")
        return bool(bracket) and _is_port(port) and _is_loopback(name)
    name, colon, port = text.partition(":")
    if not _is_port(colon + port):
        return False
    name = name.removesuffix(".")
    return name == "localhost" or name.endswith(".localhost") or _is_loopback(name)


def _is_port(text: str) -> bool:
    return text == "" or (text.startswith(":") and text[1:].isascii() and text[1:].isdigit())


def _is_loopback(name: str) -> bool:
    try:
        address = ip_address(name)
    except ValueError:
        return False
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped.is_loopback
    return address.is_loopback


# --- what changes something


def new_secret() -> str:
    """What the cookie holds: nothing but chance."""
    return secrets.token_urlsafe(32)


def token_of(secret: str) -> str:
    """What a form must repeat. Whoever reads a page learns nothing about the cookie from it."""
    return hmac.new(secret.encode(), b"cachemw dashboard form", hashlib.sha256).hexdigest()


def secret_in(cookies: Mapping[str, str]) -> str | None:
    """The secret of a cookie that can be ours."""
    value = cookies.get(COOKIE, "")
    return value if 32 <= len(value) <= 64 and value.isascii() else None


def forged(headers: Headers, secret: str | None, token: str) -> str | None:
    """Why a POST is not believed, None when it is."""
    site = first_of(headers, b"sec-fetch-site")
    if site is not None and site != b"same-origin":
        return "the browser says that another site has sent it"
    if site is None:
        origin, host = first_of(headers, b"origin"), first_of(headers, b"host")
        if origin is None:
            return "it says neither Origin nor Sec-Fetch-Site, as browsers do"
        if host is None or _authority(origin) != host.lower():
            return "its Origin is not this host; a proxy in between must pass the Host on"
    if secret is None:
        return "the cookie is missing: open the page once more, and let it set cookies"
    if not hmac.compare_digest(token_of(secret).encode(), token.encode("utf-8", "replace")):
        return "the form is not of this browser's session: open the page once more"
    return None


def _authority(origin: bytes) -> bytes | None:
    """The host and port of an Origin, None of "null"."""
    scheme, separator, authority = origin.lower().partition(b"://")
    return authority if separator and scheme in (b"http", b"https") else None
