"""Closed vocabularies: each word is written once, with the sentence that the docs give for it."""

from enum import StrEnum
from typing import TypeVar

W = TypeVar("W", bound="Word")


class Word(StrEnum):
    """One word, and the sentence that explains it."""

    meaning: str

    def __new__(cls: type[W], word: str, meaning: str = "") -> W:
        made = str.__new__(cls, word)
        made._value_ = word
        made.meaning = meaning
        return made
