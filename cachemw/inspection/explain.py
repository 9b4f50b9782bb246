"""What would happen to a request, and why, without asking the handler.

Goes the way of the middleware with the middleware's own steps: the policy, `admit`, the key, a look
into the store, `decide`. What layers outside of the cache would add to the request (a user, a
session, another host) is not known here, nor what a process keeps for itself in a near cache.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, assert_never
from urllib.parse import unquote

from starlette.types import Message, Scope

from cachemw.asgi import head_of, route_path
from cachemw.caching import status
from cachemw.caching.call import Call
from cachemw.caching.exchange import identify
from cachemw.caching.hosts import Hosts
from cachemw.caching.invalidation import SAFE_METHODS
from cachemw.caching.keys import record_key
from cachemw.caching.middleware import wishes_of
from cachemw.caching.policy import CachePolicy
from cachemw.caching.purging import Address
from cachemw.caching.reasons import Reason
from cachemw.caching.resource import Resource
from cachemw.caching.rules import (
    Decision,
    Hit,
    Miss,
    OnlyIfCached,
    StaleHit,
    Validate,
    admit,
    decide,
)
from cachemw.caching.shelf import Shelf
from cachemw.caching.status import Forward
from cachemw.caching.tags import TagInputs, tag_text
from cachemw.durations import words
from cachemw.inspection.apps import CachedApp
from cachemw.inspection.stored import Kind, Stored, seen
from cachemw.messages import Header, first_of

ANYWHERE = ("http", b"localhost:8000")  # the origin of a path while nothing is stored yet


@dataclass(frozen=True, slots=True)
class Explanation:
    """What would become of a request."""

    request: str
    """Method and absolute URL."""
    outcome: str
    """`hit`, `stale`, `miss` or `bypass`, as in metrics; `none` without a policy, `purge` for a
    request that changes something."""
    why: str
    """One sentence."""
    status: str = ""
    """The Cache-Status that would begin like this."""
    forward: Forward | None = None
    """Why it would go on to the app, if it would (RFC 9211)."""
    reason: Reason | None = None
    policy: CachePolicy | None = None
    source: str = ""
    """Where the policy was written."""
    route: str = ""
    """The pattern that matched."""
    key: str = ""
    """Where the response is kept, without the store's prefix."""
    fields: tuple[str, ...] = ()
    """The request fields that select among variants."""
    tags: tuple[str, ...] = ()
    """What every response to it is tagged with: all that a purge may name."""
    stored: tuple[Stored, ...] = ()
    """What there is now, served or not."""
    purges: tuple[str, ...] = ()
    """What a success would purge."""
    notes: tuple[str, ...] = ()


async def explain(
    app: object,
    method: str,
    url: str,
    headers: Iterable[tuple[str, str]] = (),
    *,
    body: bytes = b"",
) -> Explanation:
    """What would become of a request to `app`, an ASGI app with a cache.

    `url` is absolute, or a path: then it is looked for under every origin that the cache knows.
    Raises `StoreUnavailable`, and `ConfigurationError` for an app without a cache.
    """
    cached = CachedApp.of(app)
    address = Address.parse(url)
    origins = [address.origin] if address.origin else await Hosts(cached.store).known()
    first: Explanation | None = None
    for scheme, host in origins or [ANYWHERE]:
        scope = _scope(cached, method, scheme, host, address, headers)
        told = await _explained(cached, scope, body)
        if told.stored:
            return told
        first = first or told
    assert first is not None, "there is an origin at least"
    return first


def _scope(
    cached: CachedApp,
    method: str,
    scheme: str,
    host: bytes,
    address: Address,
    headers: Iterable[tuple[str, str]],
) -> Scope:
    said = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]
    own: list[Header] = [] if any(name == b"host" for name, _ in said) else [(b"host", host)]
    scope: dict[str, Any] = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method.upper(),
        "scheme": scheme,
        "path": unquote(address.path.decode("ascii")),
        "raw_path": address.path,
        "query_string": address.query,
        "root_path": getattr(cached.app, "root_path", ""),
        "headers": [*own, *said],
        "client": ("127.0.0.1", 0),
        "server": None,
    }
    if cached.app is not None:
        scope["app"] = cached.app
    return scope


async def _explained(cached: CachedApp, scope: Scope, body: bytes) -> Explanation:
    method: str = scope["method"]
    request = head_of(scope)
    host = request.host.decode("latin-1")
    asked = f"{method} {request.scheme}://{host}{_target(request.path, request.query)}"
    matched = cached.match(method, route_path(scope), scope["headers"])
    if method not in SAFE_METHODS and (matched is None or method not in matched.policy.methods):
        return _change(cached, scope, asked)
    if matched is None:
        reason = Reason.NO_POLICY
        return Explanation(asked, "none", reason.meaning, reason=reason)
    policy = matched.policy
    known = Explanation(
        asked,
        "bypass",
        "",
        policy=policy,
        source=cached.source_of(matched),
        route=str(matched.pattern),
    )
    call = _call(cached, scope, policy, body)
    refused = admit(request, policy)
    if refused is not None:
        return _bypassed(known, refused)
    resource = await identify(call, matched)
    if isinstance(resource, Reason):
        return _bypassed(known, resource)
    return await _looked_up(cached, known, call, resource)


def _bypassed(known: Explanation, reason: Reason) -> Explanation:
    forward = Forward.METHOD if reason is Reason.METHOD else Forward.BYPASS
    told = status.forwarded(forward, detail=reason)[1].decode()
    return replace(known, why=reason.meaning, reason=reason, forward=forward, status=told)


async def _looked_up(
    cached: CachedApp, known: Explanation, call: Call, resource: Resource
) -> Explanation:
    shelf = Shelf(cached.store)
    found = await shelf.find(resource)
    fields = resource.fields(await _selecting(cached, resource))
    variant = resource.variant(fields)
    keys = [record_key(resource.primary)]
    if variant:
        keys.append(record_key(resource.primary, variant))
    stored = tuple(await seen(cached.store, keys))
    decision = decide(found, call.asked, call.policy, now=cached.store.now(), luck=1.0)
    return replace(
        _decided(known, decision, stored, call),
        key=keys[-1].decode(),
        fields=tuple(field.decode("latin-1") for field in fields),
        tags=tuple(tag_text(tag) for tag in resource.tags),
        stored=stored,
        notes=tuple(_notes(call.policy, decision)),
    )


async def _selecting(cached: CachedApp, resource: Resource) -> tuple[bytes, ...]:
    """The fields by which the responses that are stored have varied so far."""
    for one in await seen(cached.store, [record_key(resource.primary)]):
        if one.kind is Kind.SIGNPOST:
            return tuple(field.encode("latin-1") for field in one.varies)
    return ()


def _decided(
    known: Explanation, decision: Decision, stored: tuple[Stored, ...], call: Call
) -> Explanation:
    now = call.engine.store.now()
    match decision:
        case Hit(entry, _, detail):
            left = entry.header.fresh - entry.age(now)
            why = detail.meaning if detail else f"it is fresh for {words(left)} yet"
            told = status.hit(left, detail=detail)[1].decode()
            outcome = "stale" if detail else "hit"
            return replace(known, outcome=outcome, why=why, reason=detail, status=told)
        case StaleHit(entry, detail):
            left = entry.header.fresh - entry.age(now)
            told = status.hit(left, detail=detail)[1].decode()
            return replace(known, outcome="stale", why=detail.meaning, reason=detail, status=told)
        case Validate(_, forward, detail):
            because = f": {detail.meaning}" if detail else ""
            why = f"the app would be asked first whether it has changed{because}"
        case Miss(forward, _) if first_of(call.request.headers, b"range") is not None:
            # As `asking.py` has it: a part is not worth making the client wait for the whole.
            told = status.forwarded(forward, detail=Reason.PARTIAL)[1].decode()
            return replace(_bypassed(known, Reason.PARTIAL), forward=forward, status=told)
        case Miss(forward, detail):
            why = _missing(forward, detail, stored)
        case OnlyIfCached():
            reason = Reason.ONLY_IF_CACHED
            told = status.generated(reason)[1].decode()
            return replace(
                known, outcome="miss", why=f"504: {reason.meaning}", reason=reason, status=told
            )
        case _:
            assert_never(decision)
    told = status.forwarded(forward, detail=detail)[1].decode()
    return replace(known, outcome="miss", why=why, reason=detail, forward=forward, status=told)


def _missing(forward: Forward, detail: Reason | None, stored: tuple[Stored, ...]) -> str:
    if detail is Reason.PURGED:
        tags = [tag for one in stored for tag in one.because]
        return detail.meaning + (": " + ", ".join(dict.fromkeys(tags)) if tags else "")
    if detail is Reason.UNCACHEABLE:
        causes = [cause for one in stored if one.kind is Kind.REFUSAL for cause in one.because]
        meanings = [Reason(cause).meaning for cause in causes]
        return detail.meaning + (": " + "; ".join(meanings) if meanings else "")
    if detail is not None:
        return detail.meaning
    if forward is Forward.VARY_MISS:
        return "it is stored, but not for what this request's fields select"
    return "nothing is stored for it"


def _notes(policy: CachePolicy, decision: Decision) -> Iterable[str]:
    if policy.guard is not None and not isinstance(decision, OnlyIfCached):
        yield "the policy's guard is asked first, and whom it turns down bypasses"
    if isinstance(decision, StaleHit) or (isinstance(decision, Hit) and decision.refresh):
        yield "it is made anew in the background"
    if isinstance(decision, Miss) and policy.coalesce:
        yield "one request makes it, others wait for that one"
    if policy.credentials == "bypass":
        yield "with credentials, or with cookies that the policy does not name, it would bypass"


def _change(cached: CachedApp, scope: Scope, asked: str) -> Explanation:
    """A request that may change something."""
    marks = cached.cache.changes.marks_of(scope)
    request = head_of(scope)
    purges = [f"URL {_target(request.path, request.query)}"]
    if marks is not None:
        inputs = TagInputs(dict(marks.params), request.query, request.headers)
        for mark in marks.policy:
            soft = "softly " if mark.soft else ""
            purges += [f"{soft}tag {tag_text(tag)}" for tag in mark.tags.render(inputs)]
            purges += [f"{soft}URL {template.url(inputs)}" for template in mark.urls]
            purges += [f"{soft}namespace {mark.namespace}"] if mark.namespace else []
    why = "it goes to the app, and a success purges what it makes obsolete"
    return Explanation(
        asked,
        "purge",
        why,
        source=", ".join(mark.where for mark in marks.policy) if marks else "",
        route=str(marks.pattern) if marks else "",
        purges=tuple(purges),
    )


def _call(cached: CachedApp, scope: Scope, policy: CachePolicy, body: bytes) -> Call:
    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Message) -> None:
        raise AssertionError("nobody is answered here")

    request = head_of(scope)
    wishes = wishes_of(request.headers, policy)
    engine = cached.cache.engine
    return Call(engine, scope, receive, send, request, policy, wishes, route="", began=0.0)


def _target(path: bytes, query: bytes) -> str:
    return (path + (b"?" + query if query else b"")).decode("latin-1")
