"""The options of `RateLimit`, checked once, when the rule is made.

Every complaint names the option, what was given, and what to write instead. How an option is
acted upon is not known here.
"""

import functools
import inspect
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from typing import ParamSpec, get_args

from cachemw.durations import DurationLike, seconds
from cachemw.errors import ConfigurationError
from cachemw.ratelimit.limits import LONGEST_SPAN, Limit

P = ParamSpec("P")

_NAME_CHARS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")


def knows_its_options(init: Callable[P, None]) -> Callable[P, None]:
    """An `__init__` that, told an option it does not have, names the one that was meant."""
    what = init.__qualname__.partition(".")[0]
    parameters = inspect.signature(init).parameters.values()
    known = [each.name for each in parameters if each.kind is inspect.Parameter.KEYWORD_ONLY]

    @functools.wraps(init)
    def checked(*args: P.args, **kwargs: P.kwargs) -> None:
        for option in kwargs:
            if option not in known and option != "app":
                nearest = get_close_matches(option, known, n=1)
                hint = f"did you mean {nearest[0]!r}?" if nearest else "it has " + ", ".join(known)
                raise ConfigurationError(f"{what} has no option {option!r}: {hint}")
        init(*args, **kwargs)

    return checked


def one_of(option: str, value: str, choices: object) -> None:
    """Complain when `value` is not among the choices of a Literal type."""
    known: tuple[str, ...] = get_args(choices)
    if value not in known:
        nearest = get_close_matches(str(value), known, n=1) or known
        raise ConfigurationError(
            f"{option}={value!r} is not a choice: did you mean {nearest[0]!r}?"
        )


def checked_name(name: str | None) -> str | None:
    """A name that can stand in a key and in a header as it is."""
    if name is not None and (not name or len(name) > 64 or not _NAME_CHARS.issuperset(name)):
        nearest = "".join(char if char in _NAME_CHARS else "-" for char in name)[:64] or "login"
        raise ConfigurationError(
            f"name={name!r} must be 1 to 64 of A-Z a-z 0-9 . _ -; did you mean {nearest!r}?"
        )
    return name


def checked_cost(option: str, cost: object, limits: Sequence[Limit] = ()) -> int:
    """A cost that can be counted, and that some limit could ever admit."""
    if isinstance(cost, bool) or not isinstance(cost, int):
        raise ConfigurationError(f"{option}={cost!r} must be a whole number, 0 or more")
    if cost < 0:
        raise ConfigurationError(
            f"{option}={cost} is negative: use 0 for what is free, and refund() to give back"
        )
    for limit in limits:
        if cost > limit.quota:
            raise ConfigurationError(
                f"{option}={cost} never fits '{limit}': lower the cost or raise the limit"
            )
    return cost


def checked_block(block: DurationLike | None) -> int:
    """The time of a block in milliseconds, 0 for none."""
    if block is None:
        return 0
    duration = round(seconds(block) * 1000)
    if not 0 < duration <= LONGEST_SPAN:
        raise ConfigurationError(f"block={block!r} must be more than nothing and at most 366 days")
    return duration


def demand_exact(limits: Sequence[Limit]) -> None:
    """A sliding window multiplies quota and span, which must stay exact on the server."""
    for limit in limits:
        if limit.quota * limit.span >= 2**52:
            raise ConfigurationError(f"'{limit}' is too large for a sliding window: use 'fixed'")
