"""Sizes as people write them."""

import pytest

from cachemw.errors import ConfigurationError
from cachemw.sizes import size


@pytest.mark.parametrize(
    ("written", "number"),
    [
        (0, 0),
        (4096, 4096),
        ("4096", 4096),
        ("7b", 7),
        ("2MiB", 2 << 20),
        ("1.5 KiB", 1536),
        (" 64kb ", 64_000),
        ("3gb", 3 * 10**9),
        ("1GiB", 1 << 30),
    ],
)
def test_sizes_are_read(written: int | str, number: int) -> None:
    assert size(written) == number


@pytest.mark.parametrize("wrong", ["", "MiB", "-1", -1, "2 MiBs", "1e3", True, "1,5KiB"])
def test_what_is_no_size_is_refused_with_the_fix(wrong: int | str) -> None:
    with pytest.raises(ConfigurationError, match="write it like"):
        size(wrong)
