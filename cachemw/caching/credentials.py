"""What in a request says who is asking, and what a fill for everybody must not see.

Credentials are the fields that carry a secret or a name put there by a gateway, and all cookies
that the policy does not name. A policy that varies by such a field or cookie has made it part of
the key: it is no credential then.
"""

from collections.abc import Iterable

from cachemw.caching.policy import CachePolicy
from cachemw.caching.validation import unconditional
from cachemw.messages import Header, Headers, lines_of, without

CREDENTIALS = frozenset(
    {b"authorization", b"proxy-authorization", b"x-api-key", b"api-key", b"apikey"}
    | {b"x-auth-token", b"x-access-token", b"x-session-token", b"x-csrf-token", b"x-xsrf-token"}
    | {b"remote-user", b"x-remote-user", b"x-forwarded-user", b"x-forwarded-email"}
    | {b"x-forwarded-access-token", b"x-forwarded-preferred-username", b"x-forwarded-groups"}
    | {b"x-amz-security-token", b"x-amzn-oidc-data", b"x-amzn-oidc-identity"}
    | {
        b"x-goog-authenticated-user-email",
        b"x-goog-authenticated-user-id",
        b"x-goog-iap-jwt-assertion",
    }
    | {b"cf-access-jwt-assertion", b"cf-access-authenticated-user-email"}
    | {b"x-ms-client-principal", b"x-ms-client-principal-id", b"x-ms-client-principal-name"}
    | {b"x-ssl-client-cert", b"x-client-cert", b"x-forwarded-client-cert"}
)
"""Fields that say who is asking."""
CREDENTIAL_PREFIXES = (b"x-auth-request-",)

UNKEYED = frozenset(
    {b"forwarded", b"x-forwarded-host", b"x-forwarded-proto", b"x-forwarded-protocol"}
    | {b"x-forwarded-scheme", b"x-forwarded-ssl", b"x-forwarded-port", b"x-forwarded-server"}
    | {b"x-forwarded-prefix", b"x-forwarded-path", b"x-forwarded-uri", b"x-forwarded-for"}
    | {b"x-real-ip", b"x-host", b"x-scheme", b"x-url-scheme", b"front-end-https"}
    | {b"x-original-url", b"x-original-uri", b"x-original-host", b"x-rewrite-url"}
    | {b"x-http-method", b"x-http-method-override", b"x-method-override", b"x-script-name"}
)
"""Fields that frameworks turn into host, scheme, path or method, and that no key covers."""

_OF_A_BODY = frozenset(
    {b"content-length", b"content-type", b"content-encoding", b"transfer-encoding", b"expect"}
)


def credential_in(headers: Headers, policy: CachePolicy) -> bool:
    """Whether the request says who is asking, cookies apart."""
    return any(_is_credential(name, policy) for name, _ in headers)


def foreign_cookie_in(headers: Headers, policy: CachePolicy) -> bool:
    """Whether the request has a cookie that the policy does not name."""
    for line in lines_of(headers, b"cookie"):
        if not policy.cookie_names:
            return True
        if any(_name(pair) not in policy.cookie_names for pair in _pairs(line)):
            return True
    return False


def cookies_named(headers: Headers, policy: CachePolicy) -> list[bytes]:
    """The pairs of the cookies that the policy names, in the client's order."""
    names = policy.cookie_names
    lines = lines_of(headers, b"cookie") if names else []
    return [pair for line in lines for pair in _pairs(line) if _name(pair) in names]


def for_everybody(headers: Headers, policy: CachePolicy, *, keeps_body: bool) -> Headers:
    """The fields of a request as a fill may see them: none that the key does not cover.

    Where the policy keeps users apart, or lets the app see who asks, their credentials stay.
    """
    kept: Iterable[Header] = unconditional(headers)
    kept = without(kept, UNKEYED - {name.encode() for name in policy.header_names})
    if not keeps_body:
        kept = without(kept, _OF_A_BODY)
    if policy.credentials in ("identity", "shared"):
        return tuple(kept)
    cookies = cookies_named(headers, policy)
    plain = tuple(
        (name, value)
        for name, value in kept
        if name != b"cookie" and not _is_credential(name, policy)
    )
    return (*plain, (b"cookie", b"; ".join(cookies))) if cookies else plain


def _is_credential(name: bytes, policy: CachePolicy) -> bool:
    if name not in CREDENTIALS and not name.startswith(CREDENTIAL_PREFIXES):
        return False
    return name.decode("latin-1") not in policy.header_names


def _pairs(line: bytes) -> list[bytes]:
    return [pair.strip() for pair in line.split(b";") if pair.strip()]


def _name(pair: bytes) -> str:
    return pair.partition(b"=")[0].strip().decode("latin-1")
