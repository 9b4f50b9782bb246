"""What may be served stale, and when: RFC 9111 §4.2.4, RFC 5861, and the policy's windows."""

from collections.abc import Iterator

from tests.conformance.play import FAILS, Scenario, Step, get, policy, says

KEPT = "fwd=uri-miss stored"
SWR = "hit detail=stale-while-revalidate"
SIE = "fwd=stale detail=stale-if-error"
NOT_KEPT = {404: "no-lifetime", 410: "no-lifetime", 400: "status", 501: "error"}
FAILS_AS_503 = says(status=503)
SHORT = "Cache-Control: max-age=10"


def later(told: str, *headers: str, run: int, after: float = 0) -> Step:
    """A request that is answered at once, and has the app asked in the background."""
    return get(app=says(*headers), told=told, run=run, after=after, meanwhile=True)


def _scenarios() -> Iterator[Scenario]:
    # nothing stale without a word
    yield Scenario(
        "9111 §4.2.4",
        "nothing stale is served without permission",
        [
            get(app=says(SHORT, 'ETag: "a"'), told=KEPT),
            get(after=10, app=says(SHORT), told="fwd=uri-miss stored"),
        ],
    )
    yield Scenario(
        "9111 §4.2.4",
        "an error is not hidden without permission",
        [
            get(app=says(SHORT), told=KEPT),
            get(after=10, app=says(status=503), status=503, told="fwd=uri-miss detail=status"),
        ],
    )
    # stale-while-revalidate
    for about, options, headers in (
        ("5861 §3", {}, f"{SHORT}, stale-while-revalidate=20"),
        ("policy", {"stale_while_revalidate": 20}, SHORT),
        ("policy", {"ttl": 10, "stale_while_revalidate": 20}, "X: y"),
    ):
        name = headers.removeprefix("Cache-Control: ") + " " + ",".join(options)
        yield Scenario(
            about,
            f"served stale at once, and made anew meanwhile ({name})",
            [
                get(app=says(headers), told=KEPT, ttl=10),
                later(SWR, headers, run=1, after=15),
                get(told="hit", run=2),
            ],
            policy(**options),
        )
        yield Scenario(
            about,
            f"not beyond the window ({name})",
            [
                get(app=says(headers), told=KEPT),
                get(after=30, app=says(headers), told=KEPT),
            ],
            policy(**options),
        )
        yield Scenario(
            about,
            f"at the last second of the window ({name})",
            [
                get(app=says(headers), told=KEPT),
                get(after=29, app=says(headers), told=SWR, run=1, ttl=-19, meanwhile=True),
            ],
            policy(**options),
        )
    yield Scenario(
        "5861 §3",
        "the origin's window wins over the policy's",
        [
            get(app=says(f"{SHORT}, stale-while-revalidate=5"), told=KEPT),
            get(after=15, app=says(SHORT), told=KEPT),
        ],
        policy(stale_while_revalidate=1000),
    )
    for directive in ("must-revalidate", "proxy-revalidate"):
        yield Scenario(
            "9111 §4.2.4",
            f"{directive} forbids stale use, window or not",
            [
                get(
                    app=says(f"{SHORT}, {directive}, stale-while-revalidate=20, stale-if-error=20"),
                    told=KEPT,
                ),
                get(after=15, app=FAILS_AS_503, status=503, told="fwd=uri-miss detail=status"),
            ],
        )
    for directive in ("must-revalidate", "proxy-revalidate", "s-maxage=10"):
        yield Scenario(
            "9111 §4.2.4",
            f"{directive} forbids it to the policy as well",
            [
                get(app=says(f"{SHORT}, {directive}"), told=KEPT),
                get(after=15, app=FAILS_AS_503, status=503, told="fwd=uri-miss detail=status"),
            ],
            policy(stale_while_revalidate=20, stale_if_error=20),
        )
    yield Scenario(
        "9111 §5.2.2.4",
        "no-cache is asked about each time, and no error hidden",
        [
            get(app=says("Cache-Control: no-cache, stale-if-error=99", 'ETag: "a"'), told=KEPT),
            get(
                app=says(status=503),
                status=503,
                told="fwd=stale detail=status",
                saw=('if-none-match: "a"',),
            ),
        ],
        policy(stale_if_error=99, stale_while_revalidate=99),
    )
    yield Scenario(
        "5861 §3",
        "a refresh that is turned away leaves what there is",
        [
            get(app=says(f"{SHORT}, stale-while-revalidate=20"), told=KEPT),
            get(after=12, app=says(status=500), told=SWR, run=1, meanwhile=True),
            get(told=SWR, run=1),
        ],
    )
    yield Scenario(
        "5861 §3",
        "a refresh that fails leaves what there is",
        [
            get(app=says(f"{SHORT}, stale-while-revalidate=20"), told=KEPT),
            get(after=12, app=FAILS, told=SWR, run=1, meanwhile=True),
            get(told=SWR, run=1),
        ],
    )
    yield Scenario(
        "5861 §3",
        "a refresh asks by the app's own validator, and is confirmed",
        [
            get(app=says(f"{SHORT}, stale-while-revalidate=20", 'ETag: "a"'), told=KEPT),
            get(
                after=12,
                app=says('ETag: "a"', status=304),
                told=SWR,
                run=1,
                meanwhile=True,
                saw=('if-none-match: "a"',),
            ),
            get(told="hit", run=1, ttl=10),
        ],
    )
    # stale-if-error
    for about, options, headers in (
        ("5861 §4", {}, f"{SHORT}, stale-if-error=20"),
        ("policy", {"stale_if_error": 20}, SHORT),
    ):
        for status in (500, 502, 503, 504):
            yield Scenario(
                about,
                f"stale in place of {status}",
                [
                    get(app=says(headers), told=KEPT),
                    get(after=15, app=says(status=status), told=SIE, run=1, answered=status),
                    get(app=says(headers), told="fwd=stale stored"),
                ],
                policy(**options),
            )
        yield Scenario(
            about,
            "stale in place of an exception",
            [
                get(app=says(headers), told=KEPT),
                get(after=15, app=FAILS, told=SIE, run=1),
            ],
            policy(**options),
        )
        for status in (404, 410, 400, 501):
            yield Scenario(
                about,
                f"{status} is no error of the origin",
                [
                    get(app=says(headers), told=KEPT),
                    get(
                        after=15,
                        app=says(status=status),
                        status=status,
                        told=f"fwd=stale detail={NOT_KEPT[status]}",
                    ),
                ],
                policy(**options),
            )
        yield Scenario(
            about,
            "not beyond the window",
            [
                get(app=says(headers), told=KEPT),
                get(after=30, app=says(status=503), status=503, told="fwd=uri-miss detail=status"),
            ],
            policy(**options),
        )
    yield Scenario(
        "5861 §4",
        "the client's own stale-if-error counts where clients are obeyed",
        [
            get(app=says(f"{SHORT}, stale-if-error=1", 'ETag: "a"'), told=KEPT),
            get(
                "Cache-Control: max-age=1, stale-if-error=99",
                after=5,
                app=says(status=503),
                told="fwd=request detail=stale-if-error",
                run=1,
            ),
        ],
        policy(obey_client=True),
    )
    yield Scenario(
        "9111 §5.2.2.8",
        "immutable changes nothing once it is stale",
        [
            get(app=says(f"{SHORT}, immutable"), told=KEPT),
            get(after=10, app=says(SHORT), told=KEPT),
        ],
    )
    # ahead of time
    yield Scenario(
        "policy",
        "refresh_ahead makes it anew while it is fresh",
        [
            get(app=says(), told=KEPT),
            get(after=7, told="hit", run=1),
            get(after=1, app=says(), told="hit", run=1, meanwhile=True),
            get(told="hit", run=2),
        ],
        policy(ttl=10, refresh_ahead=0.8),
    )
    yield Scenario(
        "policy",
        "refresh_ahead as a span before the end",
        [
            get(app=says(), told=KEPT),
            get(after=6, told="hit", run=1),
            get(after=1, app=says(), told="hit", run=1, meanwhile=True),
            get(told="hit", run=2),
        ],
        policy(ttl=10, refresh_ahead="3s"),
    )


SCENARIOS = list(_scenarios())
