"""What in a request says who is asking, and what a fill for everybody must not see.

Credentials are the fields that carry a secret or a name put there by a gateway, known by a list and
by the words in their names; all cookies that the policy does not name; and what a layer around the
cache has found out: a user, a session, a client's certificate. A policy that varies by a field or
cookie has made it part of the key: it is no credential then.

What the app is to render for everybody, it is asked by nobody in particular: without credentials,
from no address, and with one Host field, spelt as the key spells it.
"""

from collections.abc import Iterable, Mapping
from functools import lru_cache
from hashlib import blake2b
from typing import Any

from starlette.authentication import AuthCredentials, UnauthenticatedUser

from cachemw.caching.policy import CachePolicy
from cachemw.caching.validation import PARTIALITY, unconditional
from cachemw.messages import Header, Headers, lines_of, without

CREDENTIALS = frozenset(
    {b"authorization", b"proxy-authorization", b"dpop", b"token", b"private-token"}
    | {b"x-api-key", b"api-key", b"apikey", b"x-apikey", b"x-api-token", b"x-api-secret"}
    | {b"x-goog-api-key", b"x-functions-key", b"ocp-apim-subscription-key", b"x-access-key"}
    | {b"x-auth", b"auth-token", b"x-auth-key", b"x-auth-token", b"x-auth-user", b"x-id-token"}
    | {b"access-token", b"x-access-token", b"x-user-token", b"x-token", b"x-jwt-assertion"}
    | {b"x-session", b"x-session-id", b"x-session-token", b"session-token"}
    | {b"x-csrf-token", b"x-csrftoken", b"x-xsrf-token"}
    | {b"remote-user", b"remote-name", b"remote-email", b"remote-groups", b"x-remote-user"}
    | {b"x-user", b"x-user-id", b"x-user-email", b"x-userinfo", b"x-webauth-user"}
    | {b"x-forwarded-user", b"x-forwarded-email", b"x-forwarded-groups"}
    | {b"x-forwarded-access-token", b"x-forwarded-preferred-username"}
    | {b"x-forwarded-client-cert", b"x-client-cert", b"x-client-dn", b"client-cert"}
    | {b"ssl-client-cert", b"client-cert-chain", b"x-amz-security-token"}
    | {b"x-goog-iap-jwt-assertion", b"x-serverless-authorization"}
)
"""Fields that say who is asking."""
CREDENTIAL_PREFIXES = (
    *(b"x-auth-request-", b"x-authentik-", b"x-authenticated-", b"x-consumer-", b"x-credential-"),
    *(b"x-amzn-oidc-", b"x-goog-authenticated-user-", b"cf-access-", b"tailscale-user-"),
    *(b"x-ms-client-principal", b"x-ms-token-", b"x-pomerium-", b"x-vouch-", b"x-ssl-client-"),
)

_WORDS = frozenset(
    {b"account", b"auth", b"authenticated", b"authentication", b"authorization", b"bearer"}
    | {b"apikey", b"cert", b"clientcert", b"credential", b"credentials", b"email", b"groups"}
    | {b"identity", b"jwt", b"oidc", b"password", b"principal", b"secret", b"session"}
    | {b"sessionid", b"token", b"user", b"userid", b"userinfo", b"username"}
)
"""Words that say so in the name of any field."""
_KEYS = (b"api-key", b"access-key")
_NO_WORDS_IN = (b"sec-",)  # a browser's own: Sec-Fetch-User is about a click

UNKEYED = frozenset(
    {b"forwarded", b"x-forwarded-host", b"x-forwarded-proto", b"x-forwarded-protocol"}
    | {b"x-forwarded-scheme", b"x-forwarded-ssl", b"x-forwarded-port", b"x-forwarded-server"}
    | {b"x-forwarded-prefix", b"x-forwarded-path", b"x-forwarded-uri", b"x-forwarded-for"}
    | {b"x-real-ip", b"x-host", b"x-scheme", b"x-url-scheme", b"front-end-https"}
    | {b"x-original-url", b"x-original-uri", b"x-original-host", b"x-rewrite-url"}
    | {b"x-http-method", b"x-http-method-override", b"x-method-override", b"x-script-name"}
    | {b"x-http-host-override", b"x-envoy-original-path", b"x-replaced-path", b"x-arr-ssl"}
    | {b"x-forwarded-base-path", b"cloudfront-forwarded-proto", b"x-forwarded", b"forwarded-for"}
    | {b"x-original-forwarded-for", b"client-ip", b"x-client-ip", b"x-cluster-client-ip"}
    | {b"cf-connecting-ip", b"cf-connecting-ipv6", b"cf-pseudo-ipv4", b"true-client-ip"}
    | {b"fastly-client-ip", b"fly-client-ip", b"x-azure-clientip", b"x-azure-socketip"}
    | {b"x-appengine-user-ip", b"x-envoy-external-address", b"x-remote-addr", b"x-remote-ip"}
)
"""Fields that frameworks turn into host, scheme, path, method or address, and no key covers."""

NOBODY = ("0.0.0.0", 0)
"""From where a fill for everybody is asked for: an address that is nobody's."""

_OF_A_BODY = frozenset(
    {b"content-length", b"content-type", b"content-encoding", b"transfer-encoding", b"expect"}
)


def credential_in(headers: Headers, policy: CachePolicy) -> bool:
    """Whether the request says who is asking, cookies apart."""
    names = dict(headers)
    return any(map(_says_who, names)) and any(is_credential(name, policy) for name in names)


def foreign_cookie_in(headers: Headers, policy: CachePolicy) -> bool:
    """Whether the request has a cookie that the policy does not name."""
    if b"cookie" not in dict(headers):
        return False
    for line in lines_of(headers, b"cookie"):
        if not policy.cookie_names:
            return True
        if any(_name(pair) not in policy.cookie_names for pair in _pairs(line)):
            return True
    return False


def cookies_named(headers: Headers, policy: CachePolicy) -> list[bytes]:
    """The pairs of the cookies that the policy names, sorted by name.

    Of one that is repeated the client's order stays, since the app may take the first or the last.
    """
    names = policy.cookie_names
    lines = lines_of(headers, b"cookie") if names else []
    return sorted((p for line in lines for p in _pairs(line) if _name(p) in names), key=_name)


def credentials_of(headers: Headers, policy: CachePolicy) -> bytes:
    """Who is asking when no `identity` says it: a digest of every credential, in order."""
    digest = blake2b(digest_size=16)
    for name, value in headers:
        if name == b"cookie" or is_credential(name, policy):
            for part in (name, value):
                digest.update(len(part).to_bytes(8, "big") + part)
    return digest.digest()


def has_credentials(headers: Headers, policy: CachePolicy) -> bool:
    return credential_in(headers, policy) or foreign_cookie_in(headers, policy)


def is_known_from_outside(scope: Mapping[str, Any]) -> bool:
    """Whether a layer around the cache knows who is asking, by whatever means.

    A user who is not even a user object is taken for somebody.
    """
    user = scope.get("user")
    extensions: Mapping[str, Any] | None = scope.get("extensions")
    if user is None and not extensions:
        return False
    has_user = user is not None and bool(getattr(user, "is_authenticated", True))
    offered: Mapping[str, Any] = extensions or {}
    tls: Mapping[str, Any] = offered.get("tls") or {}
    return has_user or bool(tls.get("client_cert_chain") or tls.get("client_cert_name"))


def keeps_users_apart(policy: CachePolicy) -> bool:
    """Whether the app may see who is asking: each has an entry, or a guard decides on each hit."""
    return policy.credentials in ("identity", "shared")


def scope_for_everybody(scope: Mapping[str, Any], policy: CachePolicy) -> dict[str, Any]:
    """What stands in the place of an outer layer's knowledge, for a fill: nobody is asking."""
    if keeps_users_apart(policy):
        return dict(scope)
    plain = dict(scope)
    plain.pop("session", None)
    if "user" in plain:
        plain["user"] = UnauthenticatedUser()
    if "auth" in plain:
        plain["auth"] = AuthCredentials()
    if not policy.identities:  # one of them may well be about the address
        plain["client"] = NOBODY
    offered: Mapping[str, Any] | None = scope.get("extensions")
    plain["extensions"] = {key: offered[key] for key in offered if key != "tls"} if offered else {}
    return plain


def for_everybody(headers: Headers, policy: CachePolicy, *, keeps_body: bool) -> Headers:
    """The fields of a request as a fill may see them: none that the key does not cover.

    Where the policy keeps users apart, or lets the app see who asks, their credentials stay.
    """
    if all(map(_is_anybodys, dict(headers))):
        return _with_one_host(headers)
    named = {name.encode() for name in policy.header_names}
    kept: Iterable[Header] = unconditional(headers)
    kept = [pair for pair in kept if not _is_unkeyed(pair[0]) or pair[0] in named]
    if not keeps_body:
        kept = without(kept, _OF_A_BODY)
    kept = _with_one_host(kept)
    if keeps_users_apart(policy):
        return kept
    cookies = cookies_named(headers, policy)
    plain = tuple(
        (name, value)
        for name, value in kept
        if name != b"cookie" and not is_credential(name, policy)
    )
    return (*plain, (b"cookie", b"; ".join(cookies))) if cookies else plain


def _with_one_host(headers: Iterable[Header]) -> Headers:
    """Of several Host fields the first, which is the one in the key, and in its spelling."""
    plain = tuple(headers)
    hosts = lines_of(plain, b"host")
    if len(hosts) == 1 and hosts[0] == hosts[0].lower():
        return plain
    rest = without(plain, frozenset({b"host"}))
    return ((b"host", hosts[0].lower()), *rest) if hosts else rest


def is_credential(name: bytes, policy: CachePolicy) -> bool:
    """Whether a field says who is asking, and the policy does not vary by it."""
    return _says_who(name) and name.decode("latin-1") not in policy.header_names


@lru_cache(maxsize=1024)
def _says_who(name: bytes) -> bool:
    """Whether a field is one of credentials. Asked about every field of every request."""
    plain = _plain(name)
    if plain in CREDENTIALS or plain.startswith(CREDENTIAL_PREFIXES):
        return True
    if plain in UNKEYED or plain.startswith(_NO_WORDS_IN):
        return False
    words = plain.replace(b"user-agent", b"").split(b"-")
    return not _WORDS.isdisjoint(words) or any(key in plain for key in _KEYS)


@lru_cache(maxsize=1024)
def _is_unkeyed(name: bytes) -> bool:
    return _plain(name) in UNKEYED


@lru_cache(maxsize=1024)
def _is_anybodys(name: bytes) -> bool:
    """Whether a fill may see a field whatever its policy. Asked about every field of a miss."""
    is_about_one = name == b"cookie" or _says_who(name) or name in _OF_A_BODY
    return not (is_about_one or _is_unkeyed(name) or name in PARTIALITY)


def _plain(name: bytes) -> bytes:
    """The name as CGI and WSGI see it, where `X_User` and `X-User` are one field."""
    return name.replace(b"_", b"-") if b"_" in name else name


def _pairs(line: bytes) -> list[bytes]:
    return [pair.strip() for pair in line.split(b";") if pair.strip()]


def _name(pair: bytes) -> str:
    return pair.partition(b"=")[0].strip().decode("latin-1")
