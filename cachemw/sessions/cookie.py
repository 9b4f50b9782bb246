"""The session's id in its cookie: how it is read from a request, and how it is set and removed.

Reading is strict. A cookie that came twice was planted by somebody (a sibling subdomain, a parent
path), and nobody can tell which one is ours: none is used. What is not an id, or not signed where
ids are signed, is refused before any store is asked.
"""

import hmac
import re
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal, TypeAlias

from cachemw.messages import Header
from cachemw.sessions.ids import is_well_formed

LONGEST = 4096  # bytes of name and value together, as browsers and ASVS 3.3.5 have it
_REMEMBERED = 2048  # lines of clients, each of which sends its own with every request
_LONGEST_REMEMBERED = 1024
_SIGNATURE = 43  # characters of base64
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+\-.^_`|~]+")
_ATTRIBUTE = re.compile(r"[\x20-\x3a\x3c-\x7e]*")


@dataclass(frozen=True, slots=True)
class Absent:
    """The request carries no cookie of ours."""


@dataclass(frozen=True, slots=True)
class Refused:
    """It carries one that cannot be used."""

    reason: Literal["malformed-id", "duplicate-cookie"]


@dataclass(slots=True)  # not frozen, which takes time: each request makes one, nobody changes it
class Presented:
    """It carries an id. `outdated` when it was signed with an old secret."""

    session_id: bytes = field(repr=False)
    outdated: bool = False


Reading: TypeAlias = Absent | Refused | Presented
_ABSENT = Absent()


@dataclass(frozen=True, slots=True)
class Cookie:
    """The rules of one session cookie."""

    name: str
    domain: str | None
    path: str
    same_site: str
    secure: bool
    partitioned: bool
    persistent: bool
    secrets: tuple[bytes, ...] = field(repr=False)
    _remembered: Callable[[bytes], Reading] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_remembered", lru_cache(_REMEMBERED)(self._told))

    @classmethod
    def checked(
        cls,
        *,
        name: str | None,
        domain: str | None,
        path: str,
        same_site: str,
        secure: bool,
        partitioned: bool,
        persistent: bool,
        secrets: Iterable[str],
    ) -> "Cookie":
        """The rules, unless browsers would refuse such a cookie: then `ValueError`."""
        own_host_only = secure and domain is None and path == "/"
        if name is None:
            name = "__Host-id" if own_host_only else "__Secure-id" if secure else "id"
        if not _TOKEN.fullmatch(name):
            raise ValueError(f"cookie={name!r} is no cookie name")
        if not path.startswith("/") or not _ATTRIBUTE.fullmatch(path):
            raise ValueError(f"path={path!r} must begin with a slash and hold no semicolon")
        if domain is not None and not _ATTRIBUTE.fullmatch(domain):
            raise ValueError(f"domain={domain!r} is no domain")
        if name.lower().startswith("__host-") and not own_host_only:
            raise ValueError("a __Host- cookie needs secure=True, path='/' and no domain")
        if name.lower().startswith("__secure-") and not secure:
            raise ValueError("a __Secure- cookie needs secure=True")
        if same_site == "none" and not secure:
            raise ValueError("same_site='none' needs secure=True")
        if partitioned and not secure:
            raise ValueError("partitioned=True needs secure=True")
        rules = cls(
            name,
            domain,
            path,
            same_site,
            secure,
            partitioned,
            persistent,
            tuple(secret.encode() for secret in secrets),
        )
        if len(name) + len(rules._value(b"x" * 48)) > LONGEST:
            raise ValueError(f"the cookie's name and value exceed {LONGEST} bytes")
        return rules

    def read(self, headers: Iterable[Header]) -> Reading:
        """What the request's `Cookie` lines hold for us."""
        lines: list[bytes] = []
        for name, value in headers:
            if name == b"cookie":
                lines.append(value)
        if not lines:
            return _ABSENT
        line = lines[0] if len(lines) == 1 else b";".join(lines)
        return self._remembered(line) if len(line) <= _LONGEST_REMEMBERED else self._told(line)

    def _told(self, line: bytes) -> Reading:
        wanted = self.name.encode()
        found: list[bytes] = []
        for part in line.split(b";"):
            if wanted in part:
                name, equals, value = part.partition(b"=")
                if equals and name.strip() == wanted:
                    found.append(value.strip())
        if not found:
            return _ABSENT
        if len(found) > 1:
            return Refused("duplicate-cookie")
        return self._verified(found[0]) or Refused("malformed-id")

    def to_set(self, session_id: bytes, *, seconds_left: int) -> Header:
        """The `Set-Cookie` line that hands out an id."""
        lifetime = f"; Max-Age={max(1, seconds_left)}" if self.persistent else ""
        return self._line(self._value(session_id).decode(), lifetime)

    def to_remove(self) -> Header:
        """The `Set-Cookie` line that takes it away."""
        return self._line("", "; Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT")

    def _line(self, value: str, lifetime: str) -> Header:
        line = f"{self.name}={value}; Path={self.path}{lifetime}; HttpOnly"
        line += f"; SameSite={self.same_site.capitalize()}"
        if self.secure:
            line += "; Secure"
        if self.domain is not None:
            line += f"; Domain={self.domain}"
        if self.partitioned:
            line += "; Partitioned"
        return b"set-cookie", line.encode()

    def _value(self, session_id: bytes) -> bytes:
        if not self.secrets:
            return session_id
        return session_id + b"." + self._signature(session_id, self.secrets[0])

    def _verified(self, value: bytes) -> Presented | None:
        if not self.secrets:
            return Presented(value) if is_well_formed(value) else None
        session_id, _, signature = value.partition(b".")
        if not is_well_formed(session_id) or len(signature) != _SIGNATURE:
            return None
        for age, secret in enumerate(self.secrets):
            if hmac.compare_digest(signature, self._signature(session_id, secret)):
                return Presented(session_id, outdated=age > 0)
        return None

    def _signature(self, session_id: bytes, secret: bytes) -> bytes:
        digest = hmac.digest(secret, self.name.encode() + b"=" + session_id, "sha256")
        return urlsafe_b64encode(digest).rstrip(b"=")
