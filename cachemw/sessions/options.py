"""Every option of sessions, once as users write it and once as it is after checking.

Wrong combinations (a `__Host-` cookie with a domain, `SameSite=None` without Secure) fail here, at
start-up, and name the fix.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal, TypeAlias, TypedDict

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from cachemw.durations import Duration, DurationLike
from cachemw.errors import ConfigurationError, nearest
from cachemw.sessions.cookie import Cookie
from cachemw.sessions.events import SessionEvent
from cachemw.sizes import size

SubjectOf: TypeAlias = Callable[[Mapping[str, Any]], "str | int | None"]


class SessionOptions(TypedDict, total=False):
    """What `Sessions(...)` and `SessionMiddleware(...)` take. `docs/sessions.md` explains each."""

    idle: DurationLike
    absolute: DurationLike
    renew: DurationLike | None
    grace: DurationLike
    subject: str | SubjectOf | None
    max_sessions: int | None
    cookie: str | None
    domain: str | None
    path: str
    same_site: Literal["lax", "strict", "none"]
    secure: bool
    partitioned: bool
    persistent: bool
    secrets: Sequence[str]
    encryption_keys: Sequence[str]
    guarded: Sequence[str]
    max_bytes: int | str
    lazy: bool
    retry_after: DurationLike
    websocket_check: DurationLike
    audit: Callable[[SessionEvent], None] | None


class Settings(BaseModel):
    """The options after checking: frozen, durations in seconds, sizes in bytes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    idle: Duration = 1800.0
    absolute: Duration = 43200.0
    renew: Duration | None = 900.0
    grace: Duration = 30.0
    subject: str | SubjectOf | None = "user_id"
    max_sessions: int | None = Field(default=100, ge=1)
    cookie: str | None = None
    domain: str | None = None
    path: str = "/"
    same_site: Literal["lax", "strict", "none"] = "lax"
    secure: bool = True
    partitioned: bool = False
    persistent: bool = True
    secrets: tuple[str, ...] = Field(default=(), repr=False)
    encryption_keys: tuple[str, ...] = Field(default=(), repr=False)
    guarded: tuple[str, ...] = ()
    max_bytes: Annotated[int, BeforeValidator(size)] = Field(default=64 * 1024, ge=64)
    lazy: bool = False
    retry_after: Duration = 5.0
    websocket_check: Duration = 15.0
    audit: Callable[[SessionEvent], None] | None = None

    @classmethod
    def checked(cls, options: SessionOptions) -> "Settings":
        """The settings for these options, or a `ConfigurationError` that names each wrong one."""
        try:
            return cls.model_validate(dict(options))
        except ValidationError as error:
            problems = "; ".join(
                ".".join(str(part) for part in problem["loc"])
                + (
                    f" is no option: {nearest(str(problem['loc'][0]), cls.model_fields)}"
                    if problem["type"] == "extra_forbidden"
                    else f": {problem['msg'].removeprefix('Value error, ')}"
                )
                for problem in error.errors(include_url=False, include_input=False)
            )
            raise ConfigurationError(f"Sessions: {problems.lstrip(': ')}") from None

    @model_validator(mode="after")
    def _fit_together(self) -> "Settings":
        if self.idle < 1 or self.absolute < self.idle:
            raise ValueError("idle must be a second at least, and absolute no shorter than idle")
        if self.renew is not None and self.renew < 2 * self.grace:
            raise ValueError("renew must be at least twice the grace, or None for no renewal")
        if self.renew is not None and self.websocket_check >= self.grace > 0:
            raise ValueError("websocket_check must be shorter than grace, or a renewal is missed")
        if any(len(secret) < 16 for secret in self.secrets):
            raise ValueError("secrets must be 16 characters long at least, the newest first")
        self.cookie_rules()
        return self

    def cookie_rules(self) -> Cookie:
        """How the cookie is read and written."""
        return Cookie.checked(
            name=self.cookie,
            domain=self.domain,
            path=self.path,
            same_site=self.same_site,
            secure=self.secure,
            partitioned=self.partitioned,
            persistent=self.persistent,
            secrets=self.secrets,
        )

    def subject_of(self, contents: Mapping[str, Any]) -> str | None:
        """Who is logged in, according to these contents of a session."""
        if self.subject is None:
            return None
        if isinstance(self.subject, str):
            found: object = contents.get(self.subject)
        else:
            found = self.subject(contents)
        if found is None or found == "":
            return None
        if isinstance(found, (str, int)) and not isinstance(found, bool):
            return str(found)
        raise TypeError(
            f"who is logged in (subject={self.subject!r}) must be a string, an integer or None, "
            f"not {type(found).__name__}; name another key, or pass a function that picks it"
        )
