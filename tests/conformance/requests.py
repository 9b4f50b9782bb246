"""What a request asks of a cache (RFC 9111 §5.2.1, §5.4), obeyed where the policy says so."""

from collections.abc import Iterator

from tests.conformance.play import Scenario, get, policy, says

KEPT = "fwd=uri-miss stored"
OBEY = policy(obey_client=True)
TAGGED = ("Cache-Control: max-age=60", 'ETag: "a"')
CONFIRMED = says('ETag: "a"', status=304)


def obeyed(
    title: str,
    *lines: str,
    after: float = 0,
    detail: str | None,
    about: str = "9111 §5.2.1",
    answer: tuple[str, ...] = TAGGED,
) -> Iterator[Scenario]:
    """Obeyed, the app is asked, for this reason (None: it is a hit); not obeyed, it is a hit."""
    asked = (
        get(*lines, after=after, app=CONFIRMED, told=f"fwd=request detail={detail}", run=1)
        if detail
        else get(*lines, after=after, told="hit", run=1)
    )
    yield Scenario(about, f"{title}, obeyed", [get(app=says(*answer), told=KEPT), asked], OBEY)
    yield Scenario(
        about,
        f"{title}, not obeyed",
        [
            get(app=says(*answer), told=KEPT),
            get(*lines, after=after, told="hit", run=1),
        ],
    )


def _scenarios() -> Iterator[Scenario]:
    cc = "Cache-Control: "
    yield from obeyed("no-cache", cc + "no-cache", detail="not-modified")
    yield from obeyed("No-Cache", cc + "No-Cache", detail="not-modified")
    yield from obeyed("max-age=0", cc + "max-age=0", after=1, detail="not-modified")
    yield from obeyed("max-age reached", cc + "max-age=10", after=10, detail=None)
    yield from obeyed("max-age exceeded", cc + "max-age=10", after=11, detail="not-modified")
    yield from obeyed("max-age unreadable", cc + "max-age=soon", after=1, detail="not-modified")
    yield from obeyed("min-fresh met", cc + "min-fresh=50", after=10, detail=None)
    yield from obeyed("min-fresh not met", cc + "min-fresh=51", after=10, detail="not-modified")
    yield from obeyed("no-transform", cc + "no-transform", detail=None)
    yield from obeyed("an unknown directive", cc + "be-nice", detail=None)
    yield from obeyed(
        "Pragma: no-cache", "Pragma: no-cache", detail="not-modified", about="9111 §5.4"
    )
    yield from obeyed(
        "Pragma beside Cache-Control",
        "Pragma: no-cache",
        cc + "max-age=30",
        detail=None,
        about="9111 §5.4",
    )
    yield from obeyed(
        "max-age=0 and immutable",
        cc + "max-age=0",
        after=1,
        detail=None,
        about="8246 §2",
        answer=(cc + "max-age=60, immutable", 'ETag: "a"'),
    )
    yield from obeyed(
        "no-cache and immutable",
        cc + "no-cache",
        detail="not-modified",
        about="8246 §2",
        answer=(cc + "max-age=60, immutable", 'ETag: "a"'),
    )
    # stale
    kept = says("Cache-Control: max-age=10, stale-if-error=90", 'ETag: "a"')
    yield Scenario(
        "9111 §5.2.1.2",
        "max-stale takes a stale response",
        [
            get(app=kept, told=KEPT),
            get(cc + "max-stale=20", after=20, told="hit detail=max-stale", run=1, ttl=-10),
            get(cc + "max-stale", after=20, told="hit detail=max-stale", run=1),
            get(cc + "max-stale=5", app=CONFIRMED, told="fwd=stale detail=not-modified", run=1),
        ],
        OBEY,
    )
    yield Scenario(
        "9111 §5.2.1.2",
        "max-stale is not ours to obey by default",
        [
            get(app=kept, told=KEPT),
            get(
                cc + "max-stale=20",
                after=20,
                app=CONFIRMED,
                told="fwd=stale detail=not-modified",
                run=1,
            ),
        ],
    )
    yield Scenario(
        "9111 §5.2.1.2",
        "max-stale does not win over must-revalidate",
        [
            get(app=says("Cache-Control: max-age=10, must-revalidate", 'ETag: "a"'), told=KEPT),
            get(cc + "max-stale", after=10, app=says(), told="fwd=uri-miss detail=no-lifetime"),
        ],
        OBEY,
    )
    yield Scenario(
        "9111 §5.2.1.5",
        "no-store passes by and leaves nothing behind",
        [
            get(cc + "no-store", app=says(*TAGGED), told="fwd=bypass detail=request-no-store"),
            get(app=says(*TAGGED), told=KEPT),
            get(cc + "no-store", app=says(*TAGGED), told="fwd=bypass detail=request-no-store"),
            get(told="hit", run=2),
        ],
        OBEY,
    )
    yield Scenario(
        "9111 §5.2.1.5",
        "no-store is not ours to obey by default",
        [
            get(cc + "no-store", app=says(*TAGGED), told=KEPT),
            get(cc + "no-store", told="hit", run=1),
        ],
    )
    for title, options in (("obeyed", {"obey_client": True}), ("always", {})):
        yield Scenario(
            "9111 §5.2.1.7",
            f"only-if-cached without an entry is 504, {title}",
            [
                get(cc + "only-if-cached", told="detail=only-if-cached", status=504),
                get(app=says(*TAGGED), told=KEPT),
                get(cc + "only-if-cached", told="hit", run=1),
                get(cc + "only-if-cached", after=60, told="detail=only-if-cached", status=504),
            ],
            policy(**options),
        )
    yield Scenario(
        "9111 §5.2.1.7",
        "only-if-cached takes what is stale and being refreshed",
        [
            get(app=says("Cache-Control: max-age=10, stale-while-revalidate=90"), told=KEPT),
            get(
                cc + "only-if-cached",
                after=20,
                app=says(),
                told="hit detail=stale-while-revalidate",
                run=1,
                meanwhile=True,
            ),
        ],
    )
    yield Scenario(
        "9111 §5.2.1.7",
        "only-if-cached does not take what must be asked about",
        [
            get(app=says("Cache-Control: no-cache", 'ETag: "a"'), told=KEPT),
            get(cc + "only-if-cached", told="detail=only-if-cached", status=504),
        ],
    )
    yield Scenario(
        "5861 §3",
        "a client that wants nothing stale waits for the app",
        [
            get(
                app=says("Cache-Control: max-age=10, stale-while-revalidate=90", 'ETag: "a"'),
                told=KEPT,
            ),
            get(
                cc + "max-age=99",
                after=20,
                app=says("Cache-Control: max-age=10", 'ETag: "a"', status=304),
                told="fwd=stale detail=not-modified",
                run=1,
            ),
        ],
        OBEY,
    )
    yield Scenario(
        "9211 §2.2",
        "a request that passes by says why",
        [
            get("Cookie: a=b", app=says(), told="fwd=bypass detail=cookie"),
            get("Authorization: x", app=says(), told="fwd=bypass detail=authorization"),
            get("Upgrade: h2c", app=says(), told="fwd=bypass detail=upgrade"),
            get("X-API-Key: k", app=says(), told="fwd=bypass detail=authorization"),
        ],
    )


SCENARIOS = list(_scenarios())
