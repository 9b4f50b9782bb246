"""How limits are spoken of on the wire: `RateLimit-Policy`, `RateLimit`, problem documents.

The fields follow draft-ietf-httpapi-ratelimit-headers-10: both are lists of strings (RFC 9651).

    RateLimit-Policy: "login-minute";q=5;w=60, "login-day";q=100;w=86400
    RateLimit: "login-minute";r=4;t=57, "login-day";r=99;t=86397

No partition key is sent: who shares a quota is nobody's business. Pure.
"""

import json
from collections.abc import Iterable, Sequence
from functools import lru_cache

from cachemw.messages import Header
from cachemw.ratelimit.limits import Limit
from cachemw.ratelimit.verdicts import STATUS, Decision
from cachemw.ratelimit.window import Standing

PROBLEM = b"application/problem+json"
OURS = frozenset((b"ratelimit", b"ratelimit-policy"))
LEGACY = frozenset((b"x-ratelimit-limit", b"x-ratelimit-remaining", b"x-ratelimit-reset"))
EXPOSED = b"RateLimit, RateLimit-Policy, Retry-After"

_TYPES = "https://iana.org/assignments/http-problem-types#"
_PROBLEMS: dict[str, tuple[str, str]] = {
    "limited": (
        _TYPES + "quota-exceeded",
        "Request cannot be satisfied as assigned quota has been exceeded",
    ),
    "blocked": (
        _TYPES + "abnormal-usage-detected",
        "Request cannot be satisfied due to an abnormal usage pattern",
    ),
    "unavailable": (
        _TYPES + "temporary-reduced-capacity",
        "Request cannot be satisfied due to temporary server capacity constraints",
    ),
    "unidentified": ("about:blank", "Forbidden"),
}


def limit_fields(standings: Sequence[Standing]) -> list[Header]:
    """`RateLimit-Policy` and `RateLimit`, naming every limit; nothing when there is none."""
    if not standings:
        return []
    names = uniquely_named([each.policy for each in standings])
    told = zip(names, standings, strict=True)
    state = ", ".join([state_of(name, each.remaining, up(each.reset)) for name, each in told])
    policy = policy_field(zip(names, [each.limit for each in standings], strict=True))
    return [policy, (b"ratelimit", state.encode())]


def policy_field(limits: Iterable[tuple[str, Limit]]) -> Header:
    """`RateLimit-Policy`, from limits and their names."""
    return b"ratelimit-policy", ", ".join([_policy(*each) for each in limits]).encode()


def state_of(name: str, remaining: object, reset: object) -> str:
    """An item of `RateLimit`."""
    return f'"{name}";r={remaining};t={reset}'


def uniquely_named(policies: Iterable[str]) -> list[str]:
    """Policies of different rules may have one name; on the wire each needs its own."""
    seen: dict[str, int] = {}
    names: list[str] = []
    for policy in policies:
        count = seen[policy] = seen.get(policy, 0) + 1
        names.append(policy if count == 1 else f"{policy}-{count}")
    return names


@lru_cache(maxsize=1024)
def _policy(name: str, limit: Limit) -> str:
    return f'"{name}";q={limit.quota};w={up(limit.span)}'


def legacy_fields(standings: Sequence[Standing], now: int) -> list[Header]:
    """`X-RateLimit-*` of the tightest limit. `now` and the reset are seconds since the epoch."""
    if not standings:
        return []
    tightest = min(standings, key=lambda each: (each.remaining, -each.reset))
    return [
        (b"x-ratelimit-limit", b"%d" % tightest.limit.quota),
        (b"x-ratelimit-remaining", b"%d" % tightest.remaining),
        (b"x-ratelimit-reset", b"%d" % (now + up(tightest.reset))),
    ]


def refusal_headers(decision: Decision) -> list[Header]:
    """What a refusal carries besides the limits: never to be stored, and when to come back."""
    headers = [(b"content-type", PROBLEM), (b"cache-control", b"no-store")]
    retry_after = decision.retry_after
    if retry_after:
        headers.append((b"retry-after", b"%d" % up(retry_after)))
    return headers


def problem(decision: Decision) -> dict[str, object]:
    """The problem document (RFC 9457) of a refusal."""
    status = decision.status
    outcome = next(each.outcome for each in decision.refusals if STATUS[each.outcome] == status)
    kind, title = _PROBLEMS[outcome]
    document: dict[str, object] = {"type": kind, "title": title, "status": status}
    if outcome == "unidentified":
        document["detail"] = "The client could not be identified, and so not be counted."
        return document
    document["detail"] = f"Try again in {up(decision.retry_after)} seconds."
    standings = decision.standings
    names = uniquely_named([each.policy for each in standings])
    violated = [name for name, each in zip(names, standings, strict=True) if each.violated]
    if violated:
        document["violated-policies"] = violated
    return document


def to_json(document: dict[str, object]) -> bytes:
    return json.dumps(document).encode()


def up(milliseconds: int) -> int:
    """Whole seconds, rounded up: who comes back then must not come too early."""
    return max(1, -(-milliseconds // 1000))
