"""The vocabulary: words that fit into a structured Token, each explained."""

import re

from cachemw.caching.reasons import Reason


def test_words_are_tokens_and_explained() -> None:
    for reason in Reason:
        assert re.fullmatch(r"[a-z][a-z0-9-]*", reason), reason
        assert reason.meaning[0].islower() or reason.meaning.startswith("If-")
        assert not reason.meaning.endswith(".")


def test_a_reason_is_its_word() -> None:
    assert Reason("no-store") is Reason.NO_STORE
    assert f"{Reason.NO_STORE}" == "no-store" == Reason.NO_STORE
    assert Reason.NO_STORE.meaning == "the response says no-store"
