"""Equal text is the same tag, however it was made; different text never is."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachemw.caching.tags import TagInputs, Tags, TagTemplate, tag_bytes, tag_text
from cachemw.errors import ConfigurationError


def test_a_stored_tag_is_told_as_it_was_said() -> None:
    assert tag_text(tag_bytes("café {x} \udc80")) == "café {x} \udc80"


def render(text: str, inputs: TagInputs) -> bytes:
    return TagTemplate.parse(text).render(inputs)


def test_a_template_gives_what_an_f_string_gives() -> None:
    inputs = TagInputs(
        path={"id": "1:2"},
        query=b"page=1&page=2%20b&empty=",
        headers=((b"x-shop", b"a"), (b"x-shop", b"b\xe9")),
        identity="u7",
    )
    assert render("product:{id}", inputs) == tag_bytes("product:1:2")
    assert render("{query.page}", inputs) == tag_bytes("2 b")
    assert render("{query.empty}{query.none}|", inputs) == b"|"
    assert render("s:{header.X-Shop}", inputs) == tag_bytes("s:a, b\xe9")
    assert render("s:{header.x-none}", inputs) == b"s:"
    assert render("user:{identity}:{id}", inputs) == b"user:u7:1:2"
    assert render("{other}", inputs) == b""


def test_stored_tags_are_printable_and_bounded() -> None:
    assert tag_bytes("product:1/a-b_c.~") == b"product:1/a-b_c.~"
    assert tag_bytes('a b\r\n"%,\x00ü') == b"a%20b%0D%0A%22%25%2C%00%C3%BC"
    assert tag_bytes("\udcff") == b"%ED%B3%BF"
    assert tag_bytes("x" * 200) == b"x" * 200
    long = tag_bytes("x" * 201)
    assert len(long) == 200 and long.startswith(b"x" * 166 + b"%~")


@given(st.text(), st.text())
def test_different_texts_are_different_tags(one: str, other: str) -> None:
    assert (tag_bytes(one) == tag_bytes(other)) == (one == other)


@given(st.text(alphabet="x%~", min_size=150, max_size=260).map(lambda t: t + "é" * 20), st.text())
def test_no_short_text_looks_like_a_long_one(long: str, tail: str) -> None:
    stored = tag_bytes(long)
    assert len(stored) == 200
    assert all(0x21 <= byte <= 0x7E for byte in stored)
    assert tag_bytes(stored.decode()) != stored
    assert tag_bytes(long + tail) != stored or not tail


def test_a_set_of_tags_renders_each_tag_once() -> None:
    tags = Tags.parse(["all", "p:{id}", "all", "p:{other}", "fix"])
    assert tags.fixed == (b"all", b"fix")
    assert tags.render(TagInputs({"id": "1", "other": "1"})) == (b"all", b"fix", b"p:1")
    assert {hole.name for hole in tags.holes} == {"id", "other"}


def test_fixed_tags_cost_nothing() -> None:
    tags = Tags.parse(["a", "b"])
    assert tags.render(TagInputs()) is tags.fixed


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a tag is empty"),
        ("p:{id", "'p:{id' has a brace without its partner"),
        ("p:id}", "has a brace without its partner"),
        ("p:{{id}}", "has a brace without its partner"),
        ("{}", "placeholder {} that means nothing: use {name} of a path parameter"),
        ("{a b}", "placeholder {a b}"),
        ("{a.b}", "placeholder {a.b}"),
        ("{query.}", "placeholder {query.}"),
        ("{header.}", "placeholder {header.}"),
    ],
)
def test_a_template_that_cannot_be_read_is_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Tags.parse([text])
    assert message in str(caught.value)


def test_a_path_parameter_must_exist() -> None:
    tags = Tags.parse(["all", "p:{id}", "{query.x}"])
    tags.demand_path(["id"], "route /p/{id}")
    with pytest.raises(ConfigurationError) as caught:
        tags.demand_path(["idd", "shop"], "route /x")
    assert str(caught.value) == (
        "route /x: 'p:{id}' names {id}, did you mean {idd}? the path has {idd}, {shop}"
    )
    with pytest.raises(
        ConfigurationError, match="names {id}, the path has {shop}; of the query it is {query.id}"
    ):
        tags.demand_path(["shop"], "route /x")
    with pytest.raises(ConfigurationError, match="the path has no parameters: use {query.name}"):
        tags.demand_path([], "route /x")


def test_a_url_escapes_values_only() -> None:
    url = TagTemplate.parse("/p/{id}?full={query.full}")
    inputs = TagInputs({"id": "a b/ü?#,"}, query=b"full=1")
    assert url.url(inputs) == "/p/a%20b/%C3%BC%3F%23,?full=1"


@pytest.mark.parametrize("given", [3, ["a", "b"], None, b"a"], ids=repr)
def test_what_is_no_text_is_no_tag(given: Any) -> None:
    with pytest.raises(ConfigurationError, match="is no tag"):
        tag_bytes(given)
