"""Mistakes fail where they are written, and name the fix."""

import pytest
from starlette.applications import Starlette

from cachemw.errors import ConfigurationError
from cachemw.ratelimit.identity import ClientIP, by_name, client_ip, header, subject
from cachemw.ratelimit.middleware import RateLimitMiddleware
from cachemw.ratelimit.rule import RateLimit
from cachemw.stores.memory import MemoryStore


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (lambda: RateLimit(), "RateLimit\\('100/minute'\\)"),
        (lambda: RateLimit("10/fortnight"), "10/14 days"),
        (lambda: RateLimit("10/minute", "5/60s"), "same span"),
        (lambda: RateLimit(10), "100/minute"),
        (lambda: RateLimit("1/minute", costs=2), "'cost'"),  # type: ignore[call-arg]
        (lambda: RateLimit("1/minute", cost=2), "never fits"),
        (lambda: RateLimit("1/minute", cost=-1), "refund"),
        (lambda: RateLimit("1/minute", cost=float("nan")), "whole number"),
        (lambda: RateLimit("1/minute", on_outage="close"), "'closed'"),  # type: ignore[arg-type]
        (lambda: RateLimit("1/minute", algorithm="slide"), "'sliding'"),  # type: ignore[arg-type]
        (lambda: RateLimit("1/minute", unknown="ip"), "did you mean"),  # type: ignore[arg-type]
        (lambda: RateLimit("1/minute", name="log in"), "'log-in'"),
        (lambda: RateLimit("1/minute", block="soon"), "duration"),
        (lambda: RateLimit("1/minute", block=0), "more than nothing"),
        (lambda: RateLimit("1/minute", by="api-key"), "header:x-api-key"),
        (lambda: RateLimit("1/minute", by=7), "client_ip"),
        (lambda: RateLimit("1000000000/week", algorithm="sliding"), "'fixed'"),
        (lambda: ClientIP(trusted_proxies=("*",)), "name the proxies"),
        (lambda: ClientIP(ipv6_prefix=200), "32 to 128"),
        (lambda: middleware(routes={"/x": "1/minute"}), "RateLimit\\('1/minute'\\)"),
        (lambda: middleware(routes={"x": RateLimit("1/minute")}), "begins with '/'"),
        (lambda: middleware(rules={}), "'routes'"),
        (
            lambda: middleware(messages={"/x": RateLimit("1/minute", count_when=lambda _: True)}),
            "nothing answers a message",
        ),
        (lambda: middleware(workers=0), "workers"),
        (
            lambda: middleware(
                routes={
                    "/a": RateLimit("1/minute", name="n"),
                    "/b": RateLimit("2/minute", name="n"),
                }
            ),
            "share a name",
        ),
    ],
)
def test_mistakes_fail_at_start_up_and_name_the_fix(wrong: object, hint: str) -> None:
    with pytest.raises(ConfigurationError, match=hint):
        wrong()  # type: ignore[operator]


def middleware(**options: object) -> RateLimitMiddleware:
    return RateLimitMiddleware(Starlette(), store=MemoryStore(), **options)  # type: ignore[arg-type]


def test_a_configuration_file_names_identities() -> None:
    assert by_name("ip") is client_ip
    assert by_name("subject") == subject
    assert by_name("header:X-API-Key") == header("x-api-key")


def test_equal_rules_may_share_a_name() -> None:
    one, two = RateLimit("1/minute", name="n"), RateLimit("1/minute", name="n")
    assert middleware(routes={"/a": one, "/b": two}).rules == [one, two]
