"""What a handler asks of its session beyond being a dict; as FastAPI dependencies, or called.

session: Annotated[Session, Depends(required_session)]
@app.post("/transfer", dependencies=[Depends(fresh_login("5m"))])
"""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException, WebSocketException
from starlette.requests import HTTPConnection

from cachemw.durations import DurationLike, seconds
from cachemw.errors import ConfigurationError
from cachemw.sessions.middleware import VISIT
from cachemw.sessions.session import Session
from cachemw.sessions.visit import Visit

M = TypeVar("M", bound=BaseModel)
_POLICY_VIOLATION = 1008


async def load_session(connection: HTTPConnection) -> Session:
    """The session; read from the store now, if sessions are loaded lazily and it was not yet."""
    session = await _visit_of(connection).load()
    connection.scope["session"] = session
    session.mark_accessed()
    return session


async def save_session(connection: HTTPConnection) -> None:
    """Save now rather than when the response begins.

    Raises `ConflictError` and `SessionUnavailable` here, where a handler can still do something
    about them. In a WebSocket, this is how a change is kept before the socket closes. A cookie
    that falls due is sent with the response all the same.
    """
    await _visit_of(connection).settle_early()


async def required_session(connection: HTTPConnection) -> Session:
    """The session of somebody who is logged in; 401 for everybody else (a WebSocket: 1008)."""
    session = await load_session(connection)
    if not _visit_of(connection).is_logged_in:
        raise _denied(connection, "Session", "log in first")
    return session


def fresh_login(within: DurationLike) -> Callable[[HTTPConnection], Awaitable[Session]]:
    """Asks for a login that is no older than `within`; 401 for everybody else.

    After the user has proved again who they are, call `request.session.reauthenticated()`.
    """
    limit = seconds(within)

    async def demand(connection: HTTPConnection) -> Session:
        session = await required_session(connection)
        age = session.seconds_since_login()
        if age is None or age > limit:
            # The words of RFC 9470, in a scheme of our own.
            challenge = f'Session error="insufficient_user_authentication", max_age={limit:.0f}'
            raise _denied(connection, challenge, "log in again")
        return session

    return demand


def typed_session(model: type[M]) -> Callable[[HTTPConnection], Awaitable[M]]:
    """The session as a pydantic model, every field of which has a default."""
    try:
        model()
    except ValidationError as error:
        raise ConfigurationError(
            f"typed_session({model.__name__}): a new session is empty, so every field needs a "
            f"default; without one: {', '.join(str(e['loc'][0]) for e in error.errors())}"
        ) from None

    async def read(connection: HTTPConnection) -> M:
        return (await load_session(connection)).typed(model)

    return read


def _visit_of(connection: HTTPConnection) -> Visit:
    visit = connection.scope.get(VISIT)
    if not isinstance(visit, Visit):
        raise ConfigurationError(
            "there is no SessionMiddleware around this route: call install(app, sessions=...), or "
            "app.add_middleware(SessionMiddleware, store=...)"
        )
    return visit


def _denied(connection: HTTPConnection, challenge: str, detail: str) -> Exception:
    if connection.scope["type"] == "websocket":
        return WebSocketException(_POLICY_VIOLATION, detail)
    return HTTPException(401, detail, {"WWW-Authenticate": challenge})
