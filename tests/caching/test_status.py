"""Cache-Status (RFC 9211), checked by reading it back as the structured field it is."""

from typing import cast

import http_sf
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachemw.caching.reasons import Reason
from cachemw.caching.status import Forward, forwarded, generated, hit
from cachemw.messages import Header


def read_back(header: Header) -> dict[str, object]:
    name, value = header
    assert name == b"cache-status"
    [(cache, parameters)] = cast("list[tuple[object, dict[str, object]]]", parse(value))
    assert str(cache) == "cachemw"
    return {
        key: str(item) if isinstance(item, http_sf.Token) else item
        for key, item in parameters.items()
    }


def parse(value: bytes) -> object:
    return http_sf.parse(value, tltype="list")


def test_a_hit() -> None:
    assert hit(240.9) == (b"cache-status", b"cachemw; hit; ttl=240")
    assert hit(-0.5, detail=Reason.STALE_WHILE_REVALIDATE)[1] == (
        b"cachemw; hit; ttl=-1; detail=stale-while-revalidate"
    )


def test_a_forwarded_request() -> None:
    assert forwarded(Forward.BYPASS, detail=Reason.AUTHORIZATION)[1] == (
        b"cachemw; fwd=bypass; detail=authorization"
    )
    everything = forwarded(
        Forward.STALE,
        status=304,
        stored=True,
        collapsed=True,
        ttl=300,
        detail=Reason.NOT_MODIFIED,
    )
    assert everything[1] == (
        b"cachemw; fwd=stale; fwd-status=304; ttl=300; stored; collapsed; detail=not-modified"
    )


def test_an_answer_of_our_own() -> None:
    assert generated(Reason.ONLY_IF_CACHED)[1] == b"cachemw; detail=only-if-cached"


def test_the_words_of_the_registry() -> None:
    assert {str(word) for word in Forward} == {
        *("bypass", "method", "uri-miss", "vary-miss", "miss", "request", "stale", "partial")
    }


@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason_is_a_token(reason: Reason) -> None:
    assert read_back(hit(1, detail=reason))["detail"] == reason


@given(st.sampled_from(Forward), st.none() | st.integers(200, 599), st.booleans(), st.booleans())
def test_it_reads_back(why: Forward, status: int | None, stored: bool, collapsed: bool) -> None:
    found = read_back(forwarded(why, status=status, stored=stored, collapsed=collapsed))
    expected: dict[str, object] = {"fwd": str(why)}
    if status is not None:
        expected["fwd-status"] = status
    if stored:
        expected["stored"] = True
    if collapsed:
        expected["collapsed"] = True
    assert found == expected


@given(st.floats(-1e20, 1e20))
def test_any_number_fits(ttl: float) -> None:
    found = read_back(hit(ttl))
    assert found["hit"] is True
    assert abs(int(str(found["ttl"]))) < 10**15
