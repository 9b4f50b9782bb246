"""The dict itself: what it notices, and what it says has changed."""

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachemw.sessions.record import Record, dump, parse
from cachemw.sessions.session import AbsentSession, Changes, Session


def stored(**values: Any) -> Session:
    plain = {key: dump(key, value) for key, value in values.items()}
    return Session(Record(10_000, 1000, 99_000, 4000, 1000, None, b"ab", plain, plain))


READS = [
    lambda s: s["a"],
    lambda s: s.get("a"),
    lambda s: "a" in s,
    lambda s: list(s),
    lambda s: list(reversed(s)),
    lambda s: len(s),
    lambda s: bool(s),
    lambda s: s == {},
    lambda s: s != {},
    lambda s: s.keys(),
    lambda s: s.values(),
    lambda s: s.items(),
    lambda s: s.copy(),
    lambda s: s | {},
    lambda s: {} | s,
    lambda s: dict(s),
    lambda s: {**s},
    lambda s: json.dumps(s),
    lambda s: copy.copy(s),
    lambda s: s.typed,
]


@pytest.mark.parametrize("read", READS[:-1])
def test_no_way_of_reading_goes_unnoticed(read: Any) -> None:
    session = stored(a=1)
    assert not session.accessed
    read(session)
    assert session.accessed
    assert not session.modified
    assert not session.changes()


@pytest.mark.parametrize("read", READS[:-1])
def test_no_way_of_reading_misses_that_the_session_is_away(read: Any) -> None:
    with pytest.raises(LookupError, match="away"):
        read(AbsentSession(LookupError("away")))


def test_looking_from_outside_is_no_access() -> None:
    session = stored(a=1)
    assert repr(session) == "<Session with 1 keys>"
    assert session.contents() == {"a": 1}
    assert session.handle == "ab"
    assert session.seconds_since_login() == 6.0
    assert not session.accessed


@pytest.mark.parametrize(
    ("act", "sets", "dels"),
    [
        (lambda s: s.update(a=2), {"a": b"2"}, set()),
        (lambda s: s.update(a=1), {}, set()),
        (lambda s: s.update(a=True), {"a": b"true"}, set()),
        (lambda s: s.update(a=1.0), {"a": b"1.0"}, set()),
        (lambda s: s.pop("a"), {}, {"a"}),
        (lambda s: (s.pop("a"), s.update(a=1)), {}, set()),
        (lambda s: s.clear(), {}, {"a", "l", "d"}),
        (lambda s: s["l"].append(2), {"l": b"[1,2]"}, set()),
        (lambda s: s.get("d")["x"].append(1), {"d": b'{"x":[1]}'}, set()),
        (lambda s: next(iter(s.values())), {}, set()),
        (
            lambda s: next(v for v in s.values() if isinstance(v, list)).append(9),
            {"l": b"[1,9]"},
            set(),
        ),
        (lambda s: s.copy()["l"].append(2), {"l": b"[1,2]"}, set()),
        (lambda s: s.setdefault("new", []).append(1), {"new": b"[1]"}, set()),
        (lambda s: s.__ior__({"b": "é"}), {"b": '"é"'.encode()}, set()),
    ],
)
def test_changes_are_what_differs(act: Any, sets: dict[str, bytes], dels: set[str]) -> None:
    session = stored(a=1, l=[1], d={"x": []})
    act(session)
    changes = session.changes()
    assert (changes.sets, changes.dels) == (sets, dels)


def test_another_spelling_of_the_same_value_is_no_change() -> None:
    plain = {"l": b'[1, 2, {"a" : "\\u00e9"}]'}
    session = Session(Record(0, 0, 9, 0, 0, None, b"ab", plain, plain))
    assert session["l"][0] == 1
    assert not session.changes()


@pytest.mark.parametrize("key", [1, None, b"a"])
def test_keys_are_strings(key: Any) -> None:
    with pytest.raises(TypeError, match="keys are strings"):
        stored()[key] = 1


plain_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=())),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(plain_json)
def test_what_goes_in_comes_out(value: Any) -> None:
    back = parse(dump("key", value))
    assert back == value
    assert type(back) is type(value)
    assert dump("key", back) == dump("key", value)


@given(
    st.dictionaries(st.sampled_from("abc"), st.integers()),
    st.dictionaries(st.sampled_from("abc"), st.integers()),
)
def test_a_difference_makes_one_of_the_other(before: dict[str, int], after: dict[str, int]) -> None:
    session = stored(**before)
    for key in before.keys() - after.keys():
        del session[key]
    session.update(after)
    old = {key: dump(key, value) for key, value in before.items()}
    assert session.changes().applied_to(old) == session.encoded()


def test_changes_name_their_keys() -> None:
    assert Changes({"a": b"1"}, frozenset("b")).keys == {"a", "b"}
    assert not Changes()


@pytest.mark.parametrize(
    "text",
    ['"a"', ' "a"', '"a" ', "\t[1, 2]\n", " ", "", "1 2", "[1", "{}x", "NaN", "1e999", "-0", "nul"]
    + ["null", "[" * 100_000, '"\ud800"', "\ufeff1", '"\n"'],
)
def test_a_value_reads_as_json_does(text: str) -> None:
    """White space around it is JSON as well, though nothing of ours writes it."""

    def refuse(text: str) -> Any:
        raise ValueError(text)

    def finite(text: str) -> float:
        return float(text) if text != "1e999" else refuse(text)

    plain = text.encode("utf-8", "surrogatepass")
    try:
        expected = json.loads(text, parse_constant=refuse, parse_float=finite)
    except (ValueError, RecursionError):
        with pytest.raises(ValueError):
            parse(plain)
    else:
        assert parse(plain) == expected
