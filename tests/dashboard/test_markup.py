"""Markup that nobody breaks out of, numbers of any size, drawings that say what they show."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachemw.dashboard import charts, figures
from cachemw.dashboard.charts import Series, bar, ceiling, line, stacked
from cachemw.dashboard.markup import Html, address, join, tag
from tests.dashboard.visitors import Elements

HOSTILE = [
    "<script>alert(1)</script>",
    '" onmouseover="alert(1)',
    "' autofocus onfocus=alert(1) '",
    "</title></style><img src=x onerror=alert(1)>",
    "&lt;script&gt;",
    "\0<\0script>",
    "]]><svg onload=alert(1)>",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_text_stays_text(text: str) -> None:
    html = tag("p", text, title=text).text
    (only,) = Elements(html).tags
    assert only == ("p", {"title": text.replace("\0", "\N{REPLACEMENT CHARACTER}")})


@given(st.text(), st.text())
def test_no_text_makes_an_element_or_an_attribute(inside: str, value: str) -> None:
    html = tag("p", inside, tag("b", inside), title=value, data_what=value).text
    assert [(name, set(given)) for name, given in Elements(html).tags] == [
        ("p", {"title", "data-what"}),
        ("b", set()),
    ]


@pytest.mark.parametrize(
    "target",
    [
        "javascript:alert(1)",
        "JaVaScript:alert(1)",
        "//evil.example/",
        "/\\evil.example",
        "https://evil.example/",
        "data:text/html,x",
        "\x01javascript:alert(1)",
        "",
    ],
)
@pytest.mark.parametrize("name", ["href", "src", "action", "formaction"])
def test_links_that_lead_away_are_refused(target: str, name: str) -> None:
    attributes = {name: target}
    with pytest.raises(ValueError, match="leads out"):
        tag("a", "x", **attributes)


def test_what_may_stand_in_an_element() -> None:
    assert join([None, 3, ["a", [Html("<b>")]]]).text == "3a<b>"
    assert tag("input", disabled=True, value=None, hidden=False).text == "<input disabled>"
    assert (
        tag("label", "x", for_="a", aria_label="b").text
        == '<label for="a" aria-label="b">x</label>'
    )
    assert tag("p", "\ud800").encode() == b"<p>?</p>"


def test_queries_are_escaped_and_what_is_none_left_out() -> None:
    assert address("/purge", what="a&b=<c>\ud800", soft=None) == "/purge?what=a%26b%3D%3Cc%3E%3F"
    assert address("/purge") == "/purge"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.25, "0.2"),
        (7, "7"),
        (998, "998"),
        (999.9, "1k"),
        (12_345, "12.3k"),
        (999_999, "1M"),
        (10**30, "1,000,000,000,000,000P"),
        (-1500, "-1.5k"),
        (math.nan, "–"),
        (math.inf, "–"),
    ],
)
def test_counts_are_short(value: float, text: str) -> None:
    assert figures.count(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 ms"),
        (0.00042, "0.42 ms"),
        (0.1234, "123 ms"),
        (12.34, "12.3 s"),
        (60, "1 min"),
        (185, "3 min 5 s"),
        (7205, "2 h"),
        (187_200, "2 d 4 h"),
        (10**11, "3,170 y 357 d"),
        (-3, "-3 s"),
        (math.inf, "–"),
    ],
)
def test_durations_have_two_units_at_most(seconds: float, text: str) -> None:
    assert figures.duration(seconds) == text


def test_a_share_is_everything_only_when_it_is() -> None:
    assert figures.share(0, 0) == "–"
    assert figures.share(0, 5) == "0 %"
    assert figures.share(5, 5) == "100 %"
    assert figures.share(10**20 - 1, 10**20) == "99.9 %"
    assert figures.share(1, 10**20) == "0.1 %"
    assert figures.share(1, 3) == "33.3 %"


def test_sizes_and_long_names() -> None:
    assert figures.size(0) == "0 B"
    assert figures.size(1536) == "1.5 KiB"
    assert figures.size(2**60) == "1,048,576 TiB"
    cut = figures.cut("a" * 100 + "z" * 100)
    assert len(cut) == 120
    assert cut.startswith("a") and cut.endswith("z") and "…" in cut


@given(st.lists(st.floats() | st.integers(0, 10**40), max_size=20))
def test_drawings_of_any_numbers_stay_within_their_frame(values: list[float]) -> None:
    drawn = stacked([Series("hit", "Hits", values), Series("miss", "Misses", values)], "ab", "x")
    for rect in Elements(drawn.text).of("rect"):
        top, height = float(rect["y"] or ""), float(rect["height"] or "")
        assert -0.1 <= top <= charts.HEIGHT
        assert 0 <= height <= charts.HEIGHT + 0.1
    for other in (line(values, "x"), bar([("hit", "Hits", value) for value in values], "x")):
        assert "nan" not in other.text and "inf" not in other.text
    assert ceiling(sum(abs(v) for v in values if math.isfinite(v))) > 0


def test_columns_stand_on_each_other() -> None:
    drawn = stacked(
        [Series("hit", "H", [1, 3]), Series("miss", "M", [1, 1])], ["then", "now"], "two"
    )
    rects = [(r["class"], r["y"], r["height"]) for r in Elements(drawn.text).of("rect")]
    assert rects == [  # the axis ends at 5, and is 150 high
        ("fill-hit", "120", "30"),
        ("fill-miss", "90", "30"),
        ("fill-hit", "60", "90"),
        ("fill-miss", "30", "30"),
    ]


def test_a_bar_says_its_shares_in_words() -> None:
    (svg,) = Elements(bar([("hit", "hit", 3), ("miss", "miss", 1)], "Mix").text).of("svg")
    assert svg["aria-label"] == "Mix: hit 75.0 %, miss 25.0 %"
    (svg,) = Elements(bar([("hit", "hit", 0)], "Mix").text).of("svg")
    assert svg["aria-label"] == "Mix: nothing yet"
