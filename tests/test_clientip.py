"""The client is the first hop from the right that no trusted proxy vouches for."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachemw.clientip import ForwardingHeader, TrustedProxies, client_address, parse_address
from cachemw.errors import ConfigurationError
from cachemw.messages import Headers

PROXIES = TrustedProxies.parse(["10.0.0.0/8", "fd00::/8"])


def xff(*lines: str) -> Headers:
    return tuple((b"x-forwarded-for", line.encode("latin-1")) for line in lines)


def forwarded(*lines: str) -> Headers:
    return tuple((b"forwarded", line.encode("latin-1")) for line in lines)


def test_without_trusted_proxies_the_peer_is_the_client() -> None:
    assert client_address("10.0.0.1", xff("6.6.6.6"), TrustedProxies()) == "10.0.0.1"


def test_a_stranger_may_claim_nothing() -> None:
    assert client_address("203.0.113.9", xff("10.0.0.1, 6.6.6.6"), PROXIES) == "203.0.113.9"


@pytest.mark.parametrize(
    "lines",
    [
        ["203.0.113.9"],
        ["6.6.6.6, 203.0.113.9"],
        ["6.6.6.6,203.0.113.9,10.0.0.2"],
        ["6.6.6.6", "203.0.113.9, 10.0.0.2"],
        ["203.0.113.9", "10.0.0.2"],
        ["203.0.113.9:4711"],
        ["[::ffff:203.0.113.9]:80, 10.0.0.2"],
        ["x" * 100_000 + ", 203.0.113.9"],
        ["6.6.6.6, " * 20_000 + "203.0.113.9"],
    ],
)
def test_the_rightmost_untrusted_hop_is_the_client(lines: list[str]) -> None:
    assert client_address("10.0.0.1", xff(*lines), PROXIES) == "203.0.113.9"


@pytest.mark.parametrize("line", ["", ",", "nonsense", "6.6.6.6, unknown", "6.6.6.6,", "1" * 5000])
def test_behind_an_unreadable_claim_the_proxy_is_the_client(line: str) -> None:
    assert client_address("10.0.0.1", xff(line), PROXIES) == "10.0.0.1"


def test_when_everyone_is_trusted_the_first_of_the_chain_is_the_client() -> None:
    assert client_address("10.0.0.1", xff("10.0.0.3, 10.0.0.2"), PROXIES) == "10.0.0.3"


def test_a_chain_is_followed_for_32_hops_only() -> None:
    chain = ", ".join(f"10.1.{i // 200}.{i % 200}" for i in range(1000))
    assert client_address("10.0.0.1", xff(chain), PROXIES) == "10.1.4.168"


def test_ipv6_clients_are_named_by_their_network() -> None:
    headers = xff("2001:db8:1:2:a:b:c:d")
    assert client_address("10.0.0.1", headers, PROXIES) == "2001:db8:1:2::/64"
    assert client_address("10.0.0.1", headers, PROXIES, ipv6_prefix=48) == "2001:db8:1::/48"
    assert client_address("10.0.0.1", headers, PROXIES, ipv6_prefix=128) == "2001:db8:1:2:a:b:c:d"


def test_a_mapped_peer_matches_a_v4_network() -> None:
    assert client_address("::ffff:10.0.0.1", xff("203.0.113.9"), PROXIES) == "203.0.113.9"


def test_a_mapped_network_matches_a_v4_peer() -> None:
    mapped = TrustedProxies.parse(["::ffff:10.0.0.0/104", "::ffff:192.0.2.1"])
    for proxy in ("10.9.9.9", "::ffff:10.9.9.9", "192.0.2.1"):
        assert client_address(proxy, xff("203.0.113.9"), mapped) == "203.0.113.9"
    assert client_address("11.0.0.1", xff("203.0.113.9"), mapped) == "11.0.0.1"
    assert TrustedProxies.parse(["::/0"]).networks == (ipaddress.ip_network("::/0"),)


def test_a_unix_socket_is_believed_only_when_named() -> None:
    assert client_address(None, xff("203.0.113.9"), PROXIES) is None
    unix = TrustedProxies.parse(["unix", "10.0.0.0/8"])
    assert client_address(None, xff("203.0.113.9, 10.0.0.1"), unix) == "203.0.113.9"
    assert client_address(None, (), unix) is None


def test_a_peer_that_is_no_address_stays_what_it_is() -> None:
    assert client_address("testclient", xff("6.6.6.6"), PROXIES) == "testclient"


@pytest.mark.parametrize(
    ("line", "client"),
    [
        ("for=203.0.113.9", "203.0.113.9"),
        ('For="203.0.113.9:80";proto=https;by=10.0.0.1', "203.0.113.9"),
        ('for=6.6.6.6, for="[2001:db8::7%eth0]:4711"', "2001:db8::/64"),
        ('for="evil, for=203.0.113.9', "203.0.113.9"),
        ("for=6.6.6.6, for=203.0.113.9, for=10.0.0.2", "203.0.113.9"),
        ("for=_hidden", "10.0.0.1"),
        ("for=6.6.6.6;for=7.7.7.7", "10.0.0.1"),
        ("proto=https", "10.0.0.1"),
        ("for", "10.0.0.1"),
        # The proxy quotes the Host, which is the client's own word.
        ('for=203.0.113.9;host="a,for=6.6.6.6"', "203.0.113.9"),
        ('for=203.0.113.9;host="a;for=6.6.6.6"', "203.0.113.9"),
        (r'for=203.0.113.9;host="a\",for=6.6.6.6;b=\""', "203.0.113.9"),
        (r'for=203.0.113.9;host="a\\\",for=6.6.6.6;b=\"c\"";proto=http', "203.0.113.9"),
        ('for=6.6.6.6,b"', "10.0.0.1"),
    ],
)
def test_forwarded_is_read_the_same_way(line: str, client: str) -> None:
    assert client_address("10.0.0.1", forwarded(line), PROXIES, source="forwarded") == client


def test_the_header_that_was_not_chosen_is_not_read() -> None:
    both = xff("203.0.113.9") + forwarded("for=6.6.6.6")
    assert client_address("10.0.0.1", both, PROXIES) == "203.0.113.9"
    assert client_address("10.0.0.1", both, PROXIES, source="forwarded") == "6.6.6.6"


@pytest.mark.parametrize(
    "text",
    ["[2001:db8::1", "[2001:db8::1]80", "1.2.3", "01.2.3.4", "", "[]", "localhost", "1.2.3.4/8"],
)
def test_what_is_no_address(text: str) -> None:
    assert parse_address(text) is None


@pytest.mark.parametrize(
    ("texts", "message"),
    [(["*"], "believe every client"), (["10.0.0.1/8"], "host bits"), (["lb"], "10.0.0.0/8")],
)
def test_wrong_proxies_are_refused_at_start_up(texts: list[str], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        TrustedProxies.parse(texts)


def test_a_single_proxy_may_be_a_plain_string() -> None:
    assert TrustedProxies.parse("10.0.0.1").networks == (ipaddress.ip_network("10.0.0.1"),)


@given(
    st.lists(st.text(st.characters(max_codepoint=255)), max_size=4),
    st.sampled_from(["x-forwarded-for", "forwarded"]),
)
def test_what_a_client_sends_never_moves_it(junk: list[str], source: ForwardingHeader) -> None:
    """The proxy appends the true peer, to the last line or as one of its own."""
    true = "203.0.113.9" if source == "x-forwarded-for" else "for=203.0.113.9"
    sent = [(source.encode(), line.encode("latin-1")) for line in junk]
    own_line = (*sent, (source.encode(), true.encode()))
    assert client_address("10.0.0.1", own_line, PROXIES, source=source) == "203.0.113.9"
    joined = ", ".join([*junk, true]).encode("latin-1")
    one_line = ((source.encode(), joined),)
    assert client_address("10.0.0.1", one_line, PROXIES, source=source) == "203.0.113.9"
