"""What a handler may see go wrong with its session."""

from cachemw.errors import CachemwError


class SessionUnavailable(CachemwError):
    """The store is away and this request has a session. Raised where the session is first touched.

    The middleware answers it with 503 and Retry-After, and leaves the cookie alone.
    """


class ConflictError(CachemwError):
    """A guarded key was changed by another request since this one read it. Nothing was saved.

    The middleware answers it with 409, unless `save_session` raised it into a handler that copes.
    """

    def __init__(self, key: str) -> None:
        super().__init__(f"session[{key!r}] was changed by another request in the meantime")
        self.key = key


class UnstorableValue(CachemwError, TypeError):
    """A session may hold what JSON can: None, booleans, finite numbers, strings, lists, dicts."""


class SessionTooLarge(CachemwError):
    """The session outgrew `max_bytes`. Nothing was saved."""
