"""The request as a fill may see it: nothing of it but what the key covers.

A fill is made for everybody who asks for the same, so who asked first must not show in it
(`credentials.py`). What a layer further out has put into `scope["state"]` does reach it, as
handlers rely on that, except under the names that say who is asking; and where credentials are
stripped, only what is there for every request.
"""

from collections.abc import Mapping
from typing import Any

from starlette.types import Message, Scope

from cachemw.asgi import plain_extensions
from cachemw.caching.credentials import (
    NOBODY,
    for_everybody,
    keeps_users_apart,
    scope_for_everybody,
)
from cachemw.caching.endings import ENDING, Ending
from cachemw.caching.keys import canonical_path, canonical_query
from cachemw.caching.marks import CONTEXT, Notes
from cachemw.caching.policy import CachePolicy
from cachemw.messages import Headers, RequestHead
from cachemw.scopekeys import ASKED_BY, SESSIONS_MET

WHO = ("user", "auth", "session")
TRACES = ("route", "endpoint", "path_params", "path_format", "router")


def errand(
    scope: Scope,
    request: RequestHead,
    policy: CachePolicy,
    *,
    asking: Headers = (),
    app_state: Mapping[str, Any],
    has_body: bool = False,
    is_refresh: bool = False,
) -> Scope:
    """The scope of a fill. `asking` are the conditions under which a stored entry is good."""
    headers = [
        (name, request.host if name == b"host" else value)  # as the key spells it
        for name, value in for_everybody(request.headers, policy, keeps_body=has_body)
    ]
    made: dict[str, Any] = {
        **scope_for_everybody(scope, policy),
        "method": "GET" if scope["method"] == "HEAD" else scope["method"],
        "raw_path": canonical_path(request.path),
        "headers": [*headers, *asking],
        "query_string": canonical_query(request.query, policy),
        CONTEXT: Notes(),
        ENDING: Ending(),
        SESSIONS_MET: [],
    }
    made[ASKED_BY] = None if is_refresh else scope
    if made.get("extensions"):
        made["extensions"] = plain_extensions(made)
    if "state" in scope:
        made["state"] = _state_for(policy, scope["state"], app_state)
    if is_refresh and not policy.identities and policy.identity is None:
        # Else the variant may be the client's country, and what is made of it must be, too.
        made["client"] = NOBODY
    return made


def _state_for(
    policy: CachePolicy, state: Mapping[str, Any], app_state: Mapping[str, Any]
) -> dict[str, Any]:
    """What layers further out have put into the state of a request, as far as a fill may see it."""
    if keeps_users_apart(policy):
        return dict(state)
    if policy.credentials == "strip":
        # They may have learnt it from the credentials. What the app's lifespan put there is older.
        return {name: state[name] for name in app_state if state.get(name) is app_state[name]}
    return {name: value for name, value in state.items() if name not in WHO}


def leave_traces(made: Scope, scope: Scope) -> None:
    """Hand out what the app has left in its scope for outer layers, as instrumentation reads it."""
    for name in TRACES:
        if name in made:
            scope[name] = made[name]


async def nobody() -> Message:
    """The `receive` of an errand on nobody's behalf."""
    return {"type": "http.disconnect"}
