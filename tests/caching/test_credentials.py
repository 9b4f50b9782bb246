"""Who is asking, and what a fill for everybody may see of it."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.authentication import AuthCredentials, SimpleUser, UnauthenticatedUser

from cachemw.caching.credentials import (
    NOBODY,
    cookies_named,
    credential_in,
    credentials_of,
    for_everybody,
    foreign_cookie_in,
    has_credentials,
    is_known_from_outside,
    keeps_users_apart,
    scope_for_everybody,
)
from cachemw.caching.policy import CachePolicy
from cachemw.messages import Headers

PLAIN = CachePolicy()
STRIP = CachePolicy(credentials="strip")
IDENTITY = CachePolicy(credentials="identity")
THEMED = CachePolicy(vary_by=("cookie:theme", "cookie:lang", "x-api-key"), credentials="strip")


def lines(*pairs: tuple[str, str]) -> Headers:
    return tuple((name.encode(), value.encode()) for name, value in pairs)


def cookie(*values: str) -> Headers:
    return lines(*(("cookie", value) for value in values))


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        ("authorization", True),
        ("x-api-key", True),
        ("x_api_key", True),
        ("x-auth-request-user", True),
        ("x_auth_request_user", True),
        ("cookie", False),
        ("accept", False),
        ("x-forwarded-for", False),
        ("x-authoring", False),
    ],
)
def test_credentials(name: str, is_one: bool) -> None:
    assert credential_in(lines(("accept", "a"), (name, "x")), PLAIN) is is_one


WRITTEN_OUT = """
authorization proxy-authorization dpop token private-token x-api-key api-key apikey x-apikey
x-api-token x-api-secret x-goog-api-key x-functions-key ocp-apim-subscription-key x-access-key
x-auth auth-token x-auth-key x-auth-token x-auth-user x-id-token access-token x-access-token
x-user-token x-token x-jwt-assertion x-session x-session-id x-session-token session-token
x-csrf-token x-csrftoken x-xsrf-token remote-user remote-name remote-email remote-groups
x-remote-user x-user x-user-id x-user-email x-userinfo x-webauth-user x-forwarded-user
x-forwarded-email x-forwarded-groups x-forwarded-access-token x-forwarded-preferred-username
x-forwarded-client-cert x-client-cert x-client-dn client-cert ssl-client-cert client-cert-chain
x-amz-security-token x-goog-iap-jwt-assertion x-serverless-authorization x-auth-request-user
x-authentik-username x-authenticated-userid x-consumer-id x-credential-identifier x-amzn-oidc-data
x-goog-authenticated-user-id cf-access-jwt-assertion tailscale-user-login x-ms-client-principal
x-ms-client-principal-name x-ms-token-aad-id-token x-pomerium-jwt-assertion x-vouch-user
x-ssl-client-s-dn
"""


@pytest.mark.parametrize("name", WRITTEN_OUT.split())
def test_every_credential_is_known_by_name(name: str) -> None:
    assert credential_in(lines((name, "x")), PLAIN)
    assert seen((name, "x")) == ()


UNKEYED_WRITTEN_OUT = """
forwarded x-forwarded-host x-forwarded-proto x-forwarded-protocol x-forwarded-scheme
x-forwarded-ssl x-forwarded-port x-forwarded-server x-forwarded-prefix x-forwarded-path
x-forwarded-uri x-forwarded-for x-real-ip x-host x-scheme x-url-scheme front-end-https
x-original-url x-original-uri x-original-host x-rewrite-url x-http-method x-http-method-override
x-method-override x-script-name content-length content-type content-encoding transfer-encoding
expect
"""


@pytest.mark.parametrize("name", UNKEYED_WRITTEN_OUT.split())
def test_every_field_that_no_key_covers_is_known_by_name(name: str) -> None:
    assert seen((name, "x")) == ()
    assert not credential_in(lines((name, "x")), PLAIN)


def test_a_field_of_the_key_is_no_credential() -> None:
    assert not credential_in(lines(("x-api-key", "x")), THEMED)


@pytest.mark.parametrize(
    ("values", "is_foreign"),
    [
        ([], False),
        (["theme=dark"], False),
        (["theme=dark; lang=de"], False),
        (["theme=dark", "lang=de"], False),
        (["theme=dark; sid=1"], True),
        (["theme=dark", "sid=1"], True),
        (["Theme=dark"], True),
        (["theme"], False),
        ([";; "], False),
        (['theme="a; sid=1"'], True),
    ],
)
def test_cookies_that_nobody_has_named(values: list[str], is_foreign: bool) -> None:
    assert foreign_cookie_in(cookie(*values), THEMED) is is_foreign
    assert foreign_cookie_in(cookie(*values), PLAIN) is bool(values)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], []),
        (["sid=1; theme=a"], [b"theme=a"]),
        (["theme=a; lang=b"], [b"lang=b", b"theme=a"]),
        (["theme=z; theme=a"], [b"theme=z", b"theme=a"]),
        (["theme=z", "theme=a"], [b"theme=z", b"theme=a"]),
        ([" theme = a "], [b"theme = a"]),
    ],
)
def test_named_cookies_are_sorted_by_name_alone(values: list[str], expected: list[bytes]) -> None:
    assert cookies_named(cookie(*values), THEMED) == expected
    assert cookies_named(cookie(*values), PLAIN) == []


def test_every_credential_tells_people_apart() -> None:
    asked = [
        lines(),
        lines(("authorization", "a")),
        lines(("authorization", "b")),
        lines(("authorization", "a"), ("authorization", "b")),
        lines(("authorization", "b"), ("authorization", "a")),
        lines(("authorization", "ab")),
        lines(("cookie", "a")),
        lines(("cookie", "a"), ("cookie", "b")),
        lines(("x-api-key", "a")),
        lines(("x_api_key", "a")),
        lines(("x-auth-request-user", "a")),
        lines(("authorization", "a"), ("x-api-key", "a")),
    ]
    assert len({credentials_of(headers, IDENTITY) for headers in asked}) == len(asked)
    assert credentials_of(lines(("accept", "a")), IDENTITY) == credentials_of((), IDENTITY)


def test_credentials_are_fields_or_cookies() -> None:
    assert has_credentials(cookie("sid=1"), PLAIN)
    assert has_credentials(lines(("authorization", "a")), PLAIN)
    assert not has_credentials(lines(("accept", "a")), PLAIN)


class Anonymous:
    is_authenticated = False


@pytest.mark.parametrize(
    ("scope", "is_known"),
    [
        ({}, False),
        ({"user": None}, False),
        ({"user": UnauthenticatedUser()}, False),
        ({"user": Anonymous()}, False),
        ({"user": SimpleUser("anna")}, True),
        ({"user": {"id": 1}}, True),
        ({"user": "anna"}, True),
        ({"extensions": None}, False),
        ({"extensions": {"tls": {}}}, False),
        ({"extensions": {"tls": {"client_cert_chain": []}}}, False),
        ({"extensions": {"tls": {"client_cert_chain": ["pem"]}}}, True),
        ({"extensions": {"tls": {"client_cert_name": "CN=anna"}}}, True),
    ],
)
def test_what_outer_layers_know(scope: dict[str, Any], is_known: bool) -> None:
    assert is_known_from_outside(scope) is is_known


def test_a_fill_for_everybody_is_asked_for_by_nobody() -> None:
    scope = {
        **{"user": SimpleUser("anna"), "auth": AuthCredentials(["buy"]), "session": {"a": 1}},
        **{"client": ("192.0.2.1", 1), "extensions": {"tls": {"x": 1}, "http.response.push": {}}},
        "path": "/x",
    }
    made = scope_for_everybody(scope, STRIP)
    assert isinstance(made["user"], UnauthenticatedUser)
    assert made["auth"].scopes == []
    assert made["client"] == NOBODY
    assert made["extensions"] == {"http.response.push": {}}
    assert made["path"] == "/x"
    assert "session" not in made
    assert scope["client"] == ("192.0.2.1", 1)


def test_nothing_is_put_where_nothing_was() -> None:
    made = scope_for_everybody({"extensions": None}, PLAIN)
    assert made == {"client": NOBODY, "extensions": {}}


def test_an_address_that_may_be_in_the_key_stays() -> None:
    by_function = CachePolicy(vary_by=lambda connection: "a")
    assert (
        scope_for_everybody({"client": ("192.0.2.1", 1)}, by_function)["client"][0] == "192.0.2.1"
    )


def test_who_is_kept_apart_is_seen() -> None:
    scope = {"user": SimpleUser("anna"), "client": ("192.0.2.1", 1), "session": {}}
    assert scope_for_everybody(scope, IDENTITY) == scope
    assert scope_for_everybody(scope, IDENTITY) is not scope
    assert keeps_users_apart(IDENTITY)
    assert not keeps_users_apart(STRIP)


def seen(*pairs: tuple[str, str], policy: CachePolicy = STRIP, keeps_body: bool = False) -> Headers:
    return for_everybody(lines(*pairs), policy, keeps_body=keeps_body)


def test_what_everybody_may_see_stays_in_order() -> None:
    fields = (("host", "shop.example"), ("accept", "b"), ("accept", "a"), ("x", ""))
    assert seen(*fields) == lines(*fields)


@pytest.mark.parametrize(
    "name",
    [
        *("authorization", "x-api-key", "x_api_key", "x-auth-request-user"),
        *("x-forwarded-host", "x_forwarded_host", "x-forwarded-for", "forwarded"),
        *("range", "if-none-match", "content-length", "content-type", "transfer-encoding"),
    ],
)
def test_what_nobody_else_may_see_goes(name: str) -> None:
    assert seen((name, "x"), ("accept", "a")) == lines(("accept", "a"))


def test_a_body_keeps_what_describes_it() -> None:
    fields = (("content-type", "a/b"), ("content-length", "3"))
    assert seen(*fields, keeps_body=True) == lines(*fields)


def test_what_the_key_covers_is_seen() -> None:
    given = [("x-api-key", "k"), ("cookie", "theme=b; sid=1; lang=a"), ("authorization", "x")]
    assert seen(*given, policy=THEMED) == lines(("x-api-key", "k"), ("cookie", "lang=a; theme=b"))
    forwarded = CachePolicy(vary_by="x-forwarded-host")
    assert seen(("x-forwarded-host", "a"), policy=forwarded) == lines(("x-forwarded-host", "a"))
    assert seen(("x_forwarded_host", "a"), policy=forwarded) == ()


def test_credentials_stay_where_users_are_kept_apart() -> None:
    fields = (("authorization", "x"), ("cookie", "sid=1"))
    assert seen(*fields, ("x-forwarded-host", "x"), policy=IDENTITY) == lines(*fields)


def test_there_is_one_host_as_the_key_spells_it() -> None:
    assert seen(("host", "A.example")) == lines(("host", "a.example"))
    assert seen(("x", "1"), ("host", "a"), ("host", "b")) == lines(("host", "a"), ("x", "1"))
    assert seen(("x", "1")) == lines(("x", "1"))


names = st.sampled_from(
    [b"accept", b"host", b"cookie", b"x-forwarded-host", b"x_user", b"authorization", b"x-plain"]
    + [b"content-type", b"if-none-match", b"expect", b"user-agent", b"x-api-key", b"dnt"]
)


@given(st.lists(st.tuples(names, st.sampled_from([b"a", b"A", b"k=v; l=w"])), max_size=5))
def test_where_nothing_is_to_be_left_out_nothing_else_differs(
    lines: list[tuple[bytes, bytes]],
) -> None:
    """Most requests have nothing of the kind, which is seen at a glance; with a range each field is
    looked at by itself."""
    headers = tuple(lines)
    for policy in (
        CachePolicy(),
        CachePolicy(credentials="strip", vary_by=["x-api-key", "cookie:k"]),
        CachePolicy(credentials="identity"),
    ):
        for keeps_body in (False, True):
            at_a_glance = for_everybody(headers, policy, keeps_body=keeps_body)
            ranged = (*headers, (b"range", b"bytes=0-1"))
            assert at_a_glance == for_everybody(ranged, policy, keeps_body=keeps_body)
