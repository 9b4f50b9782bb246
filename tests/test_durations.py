"""Durations are read as people write them, and written as people read them."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from cachemw.durations import Duration, seconds, words
from cachemw.errors import ConfigurationError


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("500ms", 0.5),
        ("30s", 30),
        ("5m", 300),
        ("1h30m", 5400),
        ("1H 30M", 5400),
        ("7d", 604800),
        ("2w", 1209600),
        ("1.5h", 5400),
        ("90", 90),
        ("0.25", 0.25),
        (90, 90),
        (0, 0),
        (1.5, 1.5),
        (timedelta(minutes=5), 300),
        (2**31, 2**31),
    ],
)
def test_every_spelling(written: Any, value: float) -> None:
    assert seconds(written) == value
    assert isinstance(seconds(written), float)


@pytest.mark.parametrize(
    "written",
    ["", " ", "5 parsecs", "m5", "5m!", "-5m", "5,5m", "1e3", "inf", "nan", "5mm"]
    + [-1, float("inf"), float("nan"), timedelta(seconds=-1), True, False]
    + [None, [], {}, len, b"5m"]
    + [2**31 + 1, "9999999w", timedelta.max],
)
def test_what_is_no_duration(written: Any) -> None:
    with pytest.raises(ConfigurationError, match="is not a duration"):
        seconds(written)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0s"), (90, "1m30s"), (86400, "1d"), (0.25, "250ms"), (3601.5, "1h1s500ms"), (1e-9, "0s")],
)
def test_the_shortest_spelling(value: float, text: str) -> None:
    assert words(value) == text


@given(st.integers(0, 10**12))
def test_what_was_written_is_read_back(milliseconds: int) -> None:
    assert seconds(words(milliseconds / 1000)) == pytest.approx(milliseconds / 1000, abs=1e-4)


def test_a_field_holds_seconds() -> None:
    class Model(BaseModel):
        wait: Duration = 1.0

    assert Model(wait="5m").wait == 300  # type: ignore[arg-type]
    with pytest.raises(ValidationError, match="'soon' is not a duration"):
        Model(wait="soon")  # type: ignore[arg-type]
