"""One request's way through the cache: identify it, look up, decide, and carry the decision out."""

import inspect
import random
from collections.abc import Awaitable, Callable
from hashlib import blake2b
from typing import assert_never

from starlette.requests import HTTPConnection
from starlette.types import Scope

from cachemw.asgi import addressed, read_body, replaying, respond
from cachemw.caching import status
from cachemw.caching.asking import Asking, start_refresh
from cachemw.caching.cache_control import NOTHING
from cachemw.caching.call import Call
from cachemw.caching.credentials import (
    cookies_named,
    credentials_of,
    has_credentials,
    is_known_from_outside,
)
from cachemw.caching.entry import Entry
from cachemw.caching.keys import primary_key
from cachemw.caching.look import Look
from cachemw.caching.options import IdentityValue
from cachemw.caching.policy import CachePolicy
from cachemw.caching.reasons import Reason
from cachemw.caching.replay import answer
from cachemw.caching.resource import Resource
from cachemw.caching.rules import Found, Hit, Miss, OnlyIfCached, StaleHit, Validate, decide
from cachemw.caching.stamps import bodies_tag
from cachemw.caching.status import Forward
from cachemw.caching.trials import try_out, verify
from cachemw.errors import StoreUnavailable
from cachemw.messages import Headers, lines_of
from cachemw.routes import Matched
from cachemw.telemetry.events import Outcome


async def exchange(call: Call, matched: Matched[CachePolicy], look: Look | None = None) -> None:
    """Answer a request that may be answered from the cache. `look`: what was read for it."""
    engine = call.engine
    resource = await identify(call, matched)
    if isinstance(resource, Reason):
        await call.bypass(resource)
        return
    call.resource = resource
    try:
        found = await engine.shelf.find(call.resource, look=look)
    except StoreUnavailable:
        if not call.policy.serve:
            await call.bypass(Reason.STORE_UNAVAILABLE)
        elif call.asked.only_if_cached:
            await _decline(call)
        else:
            await Asking(call, Miss(Forward.MISS, Reason.STORE_UNAVAILABLE), None).run()
        return
    now = engine.store.now()
    decision = decide(found, call.asked, call.policy, now=now, luck=1 - random.random())
    if not call.policy.serve:
        await try_out(call, decision)
        return
    match decision:
        case Hit(entry, False, None):
            _remember(call, found)
            await _hit(call, entry, now, None, refresh=False)
        case Hit(entry, refresh, detail):
            await _hit(call, entry, now, detail, refresh=refresh)
        case StaleHit(entry, detail):
            await _hit(call, entry, now, detail, refresh=True)
        case Validate(entry, _, _):
            await Asking(call, decision, entry).run()
        case Miss():
            await Asking(call, decision, None).run()
        case OnlyIfCached():
            await _decline(call)
        case _:
            assert_never(decision)


async def _decline(call: Call) -> None:
    """§5.2.1.7: there is nothing stored, and the client wants nothing else."""
    told = status.generated(Reason.ONLY_IF_CACHED)
    call.tell(Outcome.MISS, Reason.ONLY_IF_CACHED, 504, call.engine.store.now())
    await respond(call.send, 504, [told, (b"content-length", b"0")], b"")


async def _hit(call: Call, entry: Entry, now: int, detail: Reason | None, *, refresh: bool) -> None:
    if call.policy.guard is not None and not await call.is_let_in():
        await call.bypass(Reason.GUARD)
        return
    if refresh:
        start_refresh(call, entry)
    age, saved = entry.age(now), entry.header.took
    told = status.hit(entry.header.fresh - age, detail=detail)
    code, headers, body = answer(call.request, entry, told, now)
    outcome = Outcome.HIT if detail is None else Outcome.STALE
    call.tell(outcome, detail, code, now, age=age, size=len(body), saved=saved)
    if call.policy.verify and outcome is Outcome.HIT:
        verify(call, entry)
    await respond(call.send, code, headers, body)


def _remember(call: Call, found: Found) -> None:
    """Let equal requests take the short way from now on."""
    is_plain = call.asked is NOTHING and call.request.method in ("GET", "HEAD")
    if is_plain and not call.policy.verify:
        scope, pages = call.scope, call.engine.pages
        address, fields = addressed(scope)
        method, path = call.request.method, scope["path"]
        pages.learn(
            method,
            path,
            address,
            fields,
            call.policy,
            call.route,
            found,
            call.engine.shelf.far.reader,
        )


# --- what is asked for


async def identify(call: Call, matched: Matched[CachePolicy]) -> Resource | Reason:
    """The resource that is asked for, or why the request cannot have one."""
    policy, digest = call.policy, b""
    if call.request.method not in ("GET", "HEAD"):
        most = int(policy.max_body)
        call.body, messages, is_all = await read_body(call.receive, most)
        call.receive = replaying(messages, call.receive)
        if not is_all or len(call.body) > most:
            return Reason.KEY_TOO_LARGE
        digest = _body_digest(call.request.headers, call.body)
    setting = call.engine.settings.of(matched)
    chosen: tuple[bytes, ...] = ()
    identity = ""
    if not setting.is_plain:
        chosen, identity = await _chosen(call)
        if not identity and _is_somebody_unnamed(call):
            return Reason.AUTHORIZATION
    if policy.guard is not None:
        # Under a key of its own: the policy may be another one tomorrow, or for another method.
        chosen = (*chosen, b"guarded")
    if root := call.scope.get("root_path", ""):
        # The app's links begin with it, and an outer layer may have taken it from a header.
        chosen = (*chosen, root.encode("utf-8", "surrogatepass"))
    primary = primary_key(call.request, policy, digest)
    tags = setting.tags(matched, call.request, identity)
    if digest:
        tags = (bodies_tag(primary_key(call.request, policy)), *tags)
    return Resource(call.request, policy, primary, chosen, tags)


def _body_digest(headers: Headers, body: bytes) -> bytes:
    # All lines of both: which one of several counts is for the app to choose.
    kind = b"\n".join(lines_of(headers, b"content-type"))
    coding = b"\n".join(lines_of(headers, b"content-encoding"))
    return blake2b(b"%b\0%b\0%b" % (kind, coding, body), digest_size=16).digest()


async def _chosen(call: Call) -> tuple[tuple[bytes, ...], str]:
    """What the policy adds to the key of a variant, and who is asking, for tags."""
    policy, headers = call.policy, call.request.headers
    chosen: list[bytes] = []
    identity = ""
    if policy.cookie_names:
        chosen.append(b";".join(cookies_named(headers, policy)))
    for function in policy.identities:
        identity, material = await _identity(function, call.scope)
        chosen.append(material)
    if policy.credentials == "identity":
        if policy.identity is None:
            material = credentials_of(headers, policy)
            identity = material.hex()
        else:
            identity, material = await _identity(policy.identity, call.scope)
        chosen.append(material)
    return tuple(chosen), identity


def _is_somebody_unnamed(call: Call) -> bool:
    """Whether the policy's `identity` names nobody where somebody seems to be asking: what the app
    makes of him is not for all the others whom it does not name."""
    if call.policy.credentials != "identity":
        return False
    return has_credentials(call.request.headers, call.policy) or is_known_from_outside(call.scope)


async def _identity(
    function: Callable[[HTTPConnection], IdentityValue | Awaitable[IdentityValue]], scope: Scope
) -> tuple[str, bytes]:
    """Who a policy's function says is asking: as text for tags, and as bytes for the key."""
    value = function(HTTPConnection(scope))
    if inspect.isawaitable(value):
        value = await value
    if value in (None, "", b""):
        return "", b"n"
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace"), b"b" + value
    kind = b"i" if isinstance(value, int) else b"s"
    return str(value), kind + str(value).encode("utf-8", "surrogatepass")
