"""Questions asked ahead of their turn, so that all that a request asks of the store is one trip.

    limits         send their script and, before they wait for the answer, call `ask_ahead` of the
      cache        sends the read of a page that it has met before, or passes the call on
        sessions   send the load of the session that a cookie names

The one that asks leaves its question in the scope, and takes it from there when its turn comes. If
the limit says no, that turn never comes, and nobody looks at the answer (`let_go`). Only layers of
ours that stand directly within one another do this; whatever stands between them ends the chain.
"""

from collections.abc import Awaitable, Callable
from inspect import iscoroutine
from typing import Any, NamedTuple, TypeAlias

from starlette.types import ASGIApp, Scope

AHEAD = "cachemw.asked_ahead"


class Question(NamedTuple):
    """What a layer has asked: whatever it needs to go on, and the answer to wait for."""

    layer: object
    state: Any
    answer: Awaitable[Any]


AskAhead: TypeAlias = Callable[[Scope], None]


def asker_of(app: ASGIApp) -> AskAhead | None:
    """How to have the next layer ask what it will ask anyway, if it is one of ours."""
    ask: AskAhead | None = getattr(app, "ask_ahead", None)
    return ask


def leave(scope: Scope, question: Question) -> None:
    """Leave a question for the layer's own turn. There is one at most: it ends the chain."""
    scope[AHEAD] = question


def taken(scope: Scope, layer: object) -> Question | None:
    """What this layer has asked ahead."""
    question: Question | None = scope.get(AHEAD)
    if question is None or question.layer is not layer:
        return None
    del scope[AHEAD]
    return question


def let_go(scope: Scope) -> None:
    """Nobody will wait for the answer."""
    question: Question | None = scope.pop(AHEAD, None)
    if question is not None and iscoroutine(question.answer):  # of a store that is not eager
        question.answer.close()
