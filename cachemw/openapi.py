"""Caching in the OpenAPI document: for how long an operation's answer is kept, and what it brings.

Adds to what FastAPI generates, never over what the app describes itself: `x-cachemw` with what
the policy says, the fields ETag, Cache-Status and Age on answers that may come from the cache, and
the 304 that a client gets who has the answer already.
"""

from collections.abc import Callable
from typing import Any

from cachemw.caching.judging import POLICY_STATUSES
from cachemw.caching.policy import CachePolicy
from cachemw.ratelimit.openapi import Schema, operations
from cachemw.routetable import RouteTable

_TEXT = {"schema": {"type": "string"}}
_ETAG: Schema = {"ETag": {"description": "Send it back in If-None-Match.", **_TEXT}}
_TOLD: Schema = {
    "Cache-Status": {"description": "What the cache did, and why (RFC 9211).", **_TEXT},
    "Age": {
        "description": "Seconds since the answer was made; absent when it was made just now.",
        "schema": {"type": "integer"},
    },
}
_NOT_MODIFIED = "Not Modified: the client has this answer already."


def document(app: Any, policies: RouteTable[CachePolicy]) -> None:
    """Have `app.openapi()` tell which operations are cached, and how."""
    generate: Callable[[], Schema] | None = getattr(app, "openapi", None)
    if generate is None:
        return

    def openapi() -> Schema:
        schema = generate()
        for _, method, path, operation in operations(app, schema):
            found = policies.match(app, method, path)
            if found is not None and method in found.policy.methods:
                _describe(operation, found.policy)
        return schema

    app.openapi = openapi


def said_of(policy: CachePolicy) -> Schema:
    """A policy as the document has it: seconds, and only what was said."""
    said: Schema = {
        "ttl": policy.ttl if isinstance(policy.ttl, float) else "as the answer says",
        "stale-while-revalidate": policy.stale_while_revalidate,
        "stale-if-error": policy.stale_if_error,
        "credentials": policy.credentials,
        "ttl-by-status": {str(status): span for status, span in policy.ttl_by_status} or None,
        "tags": list(policy.tags) or None,
        "namespace": policy.namespace,
    }
    return {name: value for name, value in said.items() if value is not None}


def _describe(operation: Schema, policy: CachePolicy) -> None:
    operation.setdefault("x-cachemw", said_of(policy))
    responses: Schema = operation.setdefault("responses", {})
    kept = POLICY_STATUSES.union(status for status, _ in policy.ttl_by_status)
    for status, response in responses.items():
        if status.isdigit() and int(status) in kept and "$ref" not in response:
            fields: Schema = response.setdefault("headers", {})
            for name, described in {**_ETAG, **_TOLD}.items():
                fields.setdefault(name, described)
    if "200" in responses:
        told = {"description": _NOT_MODIFIED, "headers": {**_ETAG, **_TOLD}}
        responses.setdefault("304", told)
