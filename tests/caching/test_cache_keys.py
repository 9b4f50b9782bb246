"""Names on the server: apart from each other, and found by patterns; and how calls are named."""

import re
from dataclasses import dataclass
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachemw.caching.datakeys import data_key, holders_key, key_text, literal, pattern_key
from cachemw.caching.memo import Naming
from cachemw.errors import ConfigurationError
from cachemw.stores.base import hash_tag
from cachemw.stores.glob import glob_to_regex

texts = st.text(min_size=1, max_size=20) | st.text("{}*?[]\\^-:%é", min_size=1, max_size=8)


@given(texts, texts)
def test_different_keys_have_different_names(one: str, other: str) -> None:
    assert (data_key(one) == data_key(other)) == (one == other)


@given(texts)
def test_an_entry_and_its_holders_share_a_slot(key: str) -> None:
    assert hash_tag(data_key(key)) == hash_tag(holders_key(key))
    assert key_text(data_key(key)) == key


def test_long_keys_are_bounded_and_stay_apart() -> None:
    long = "user:1:" + "x" * 5000
    assert len(data_key(long)) < 250
    assert data_key(long) != data_key(long + "y")
    assert data_key(long).startswith(b"d:{user:1:xxx")


@given(texts, texts)
def test_a_literal_finds_itself_and_nothing_else(one: str, other: str) -> None:
    found = glob_to_regex(pattern_key(literal(one))).fullmatch(data_key(other))
    assert (found is not None) == (one == other)


@given(texts, texts)
def test_a_prefix_finds_what_begins_with_it(prefix: str, key: str) -> None:
    found = glob_to_regex(pattern_key(literal(prefix) + "*")).fullmatch(data_key(prefix + key))
    assert found is not None


@pytest.mark.parametrize(
    ("pattern", "key", "is_found"),
    [
        ("user:1001:*", "user:1001:feed", True),
        ("user:1001:*", "user:10011:feed", False),
        ("user:?:feed", "user:7:feed", True),
        ("user:[12]:feed", "user:2:feed", True),
        ("user:[^12]:feed", "user:2:feed", False),
        ("user:\\*", "user:*", True),
        ("user:\\*", "user:1", False),
        ("café:*", "café:1", True),
        ("*", "{any}", True),
    ],
)
def test_patterns(pattern: str, key: str, is_found: bool) -> None:
    found = glob_to_regex(pattern_key(pattern)).fullmatch(data_key(key))
    assert (found is not None) == is_found


@pytest.mark.parametrize("pattern", ["", "[é]"])
def test_patterns_that_cannot_be_looked_for_are_refused(pattern: str) -> None:
    with pytest.raises(ConfigurationError):
        pattern_key(pattern)


def test_an_empty_key_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="empty"):
        data_key("")


# --- calls


@dataclass
class Filter:
    name: str


def search(term: object, page: int = 1, *rest: object, exact: object = False) -> None: ...


def name(*args: object, **kwargs: object) -> str:
    return Naming(search, None, ()).call(args, kwargs)[0]


def test_calls_that_mean_the_same_have_one_name() -> None:
    assert name("a") == name("a", 1) == name(term="a", page=1, exact=False)
    assert name({"a": 1, "b": 2}) == name({"b": 2, "a": 1})
    assert name({1, 2, 3}) == name({3, 2, 1})
    assert re.fullmatch(r"[\w.]+\.search:[0-9a-f]{32}", name("a"))


def test_calls_of_different_values_or_types_have_different_names() -> None:
    values = [
        *("1", 1, 1.0, True, None, b"1", "", [], {}, ["1"], [["1"]], {"1": 1}, {1: 1}),
        *(UUID(int=1), str(UUID(int=1)), Filter("1"), {"name": "1"}, {1}, [1]),
    ]
    names = [name(value) for value in values]
    assert len(set(names)) == len(names)
    assert name("a", 1, "b") != name("a", 1, exact="b")


def test_an_argument_that_names_nothing_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"search has an argument.*key="):
        name(object())


def test_templates_are_filled_from_arguments() -> None:
    naming = Naming(search, "search:{term}:{page}", ["term:{term}", "searches"])
    assert naming.call(("red",), {}) == ("search:red:1", [b"term:red", b"searches"])


pieces = st.text("a:%3A;", max_size=6)


@given(st.tuples(pieces, pieces), st.tuples(pieces, pieces))
def test_a_key_template_keeps_calls_apart(one: tuple[str, str], other: tuple[str, str]) -> None:
    naming = Naming(search, "s:{term}:{exact}", ())
    keys = [naming.call((term,), {"exact": exact})[0] for term, exact in (one, other)]
    assert (keys[0] == keys[1]) == (one == other)


@pytest.mark.parametrize("key", ["{term}{page}", "{terms}", "{query.page}", "{}"])
def test_templates_that_make_no_sense_are_refused(key: str) -> None:
    with pytest.raises(ConfigurationError):
        Naming(search, key, ())
