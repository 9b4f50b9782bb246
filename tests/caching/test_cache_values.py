"""Values as bytes and back: what is given is what comes back, or nothing is kept."""

import math
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum
from typing import Any, NamedTuple, TypedDict
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from cachemw.caching.values import codec_of
from cachemw.errors import ConfigurationError, UnreadableEntry


class Colour(Enum):
    RED = "red"


@dataclass
class Point:
    x: int
    y: float


class Pair(NamedTuple):
    first: str
    second: bytes


class Row(TypedDict):
    id: UUID
    price: Decimal


class Box(msgspec.Struct):
    points: list[Point]


class User(BaseModel):
    id: int
    name: str = Field(alias="fullName")
    since: datetime


class Measure(BaseModel):
    value: float = 0
    raw: bytes = b""


class Connection:
    """Not data."""


@dataclass
class Team:
    users: list[User]


ADA = User(id=1, fullName="Ada", since=datetime(2026, 1, 1, tzinfo=UTC))

plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.text()
    | st.binary()
    # msgpack has no nan that equals itself
    | st.floats(allow_nan=False),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(plain)
def test_plain_data_comes_back_as_it_was(value: Any) -> None:
    codec = codec_of()
    assert codec.decode(codec.encode(value)) == value


def test_not_a_number_is_plain_data() -> None:
    assert math.isnan(codec_of().decode(codec_of().encode(math.nan)))


@pytest.mark.parametrize(
    "value",
    [Point(1, 2.0), (1, 2), {1, 2}, ADA, Colour.RED, UUID(int=1), {"at": (1, 2)}, [Point(1, 2.0)]],
)
def test_what_would_come_back_as_something_else_is_refused_without_a_type(value: Any) -> None:
    with pytest.raises(ConfigurationError, match="type"):
        codec_of().encode(value)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (Point, Point(1, 2.5)),
        (Pair, Pair("a", b"\0\xff")),
        (Row, Row(id=UUID(int=7), price=Decimal("1.10"))),
        (Box, Box([Point(1, math.inf)])),
        (Colour, Colour.RED),
        (date, date(2026, 11, 21)),
        (tuple[int, str], (1, "a")),
        (set[int], {1, 2}),
        (bytes, b"\xff"),
        (Point | None, None),
        (User, ADA),
        (list[User], [ADA]),
        (dict[str, User | None], {"a": ADA, "b": None}),
        (Team, Team([ADA])),
    ],
)
def test_typed_values_come_back_as_their_type(kind: Any, value: Any) -> None:
    codec = codec_of(kind)
    read = codec.decode(codec.encode(value))
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize("kind", [Point, User, list[int], None])
def test_bytes_that_are_no_such_value_are_unreadable(kind: Any) -> None:
    for stored in (b"", b"\xc1", b'{"id": "no"', codec_of(str).encode("text") + b"?"):
        with pytest.raises(UnreadableEntry):
            codec_of(kind).decode(stored)


def test_a_value_of_another_type_is_unreadable() -> None:
    stored = codec_of(Point).encode(Point(1, 2.0))
    with pytest.raises(UnreadableEntry):
        codec_of(Pair).decode(stored)


def test_what_a_type_cannot_hold_names_the_type() -> None:
    with pytest.raises(ConfigurationError, match="object"):
        codec_of(Point).encode(object())
    with pytest.raises(ConfigurationError, match="type="):
        codec_of(Team | Box)  # one is for pydantic, the other for msgspec
    for kind in (Connection, Connection | None):
        with pytest.raises(ConfigurationError, match="type="):
            codec_of(kind)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (Point, {"x": "no"}),
        (list[int], ["a"]),
        (User, {"id": 1}),
        (Measure, Measure(value=math.nan)),
        (Measure, Measure(raw=b"\xff")),
    ],
)
def test_what_could_not_be_read_again_is_not_kept(kind: Any, value: Any) -> None:
    with pytest.raises(ConfigurationError, match="cannot be kept"):
        codec_of(kind).encode(value)
