"""How long a response is fresh, and how old it is: RFC 9111 §4.2, §5.1, §5.3, RFC 9213."""

from collections.abc import Iterator

from tests.conformance.play import Scenario, at, get, policy, says

KEPT = "fwd=uri-miss stored"


def fresh_for(about: str, title: str, seconds: int, *headers: str, **options: object) -> Scenario:
    """Kept, served until a second before the end, and not at the end."""
    last = [get(after=seconds - 1, told="hit", run=1, ttl=1)] if seconds > 1 else []
    over = get(after=1, app=says("Cache-Control: no-store"), told="fwd=uri-miss detail=no-store")
    first = get(app=says(*headers), told=KEPT, ttl=seconds)
    return Scenario(about, title, [first, *last, over], policy(**options))


def stale_at_once(about: str, title: str, *headers: str) -> Scenario:
    """Not worth keeping: it has no moment of freshness."""
    told = "fwd=uri-miss detail=no-lifetime"
    return Scenario(about, title, [get(app=says(*headers), told=told) for _ in range(2)])


MALFORMED = [
    "abc",
    "-1",
    "-60",
    "1.5",
    "60.0",
    "+60",
    "1 0",
    "0x10",
    "60s",
    "",
    '"60',
    "'60'",
    "٣",
    "60;x",
    "1e3",
    '"-1"',
]
BAD_EXPIRES = [
    "0",
    "-1",
    "tomorrow",
    "",
    "2100-01-01",
    "Fri, 01 Jan 2100",
    "9999999999",
    "Thu, 99 Dec 2099 00:00:00 GMT",
    "Thu, 10 Dec 2099 25:00:00 GMT",
    "10 Dec 2099 00:00:00 GMT +0100",
]


def _scenarios() -> Iterator[Scenario]:
    # the first match (§4.2.1)
    yield fresh_for("9111 §4.2.1", "max-age", 60, "Cache-Control: max-age=60")
    yield fresh_for("9111 §4.2.1", "s-maxage", 60, "Cache-Control: s-maxage=60")
    yield fresh_for(
        "9111 §4.2.1", "s-maxage wins over max-age", 60, "Cache-Control: max-age=5, s-maxage=60"
    )
    yield fresh_for(
        "9111 §4.2.1", "s-maxage wins, shorter", 5, "Cache-Control: max-age=60, s-maxage=5"
    )
    yield fresh_for("9111 §4.2.1", "Expires", 60, f"Date: {at(0)}", f"Expires: {at(60)}")
    yield fresh_for("9111 §4.2.1", "Expires without Date", 60, f"Expires: {at(60)}")
    yield fresh_for(
        "9111 §5.3",
        "max-age wins over Expires",
        60,
        "Cache-Control: max-age=60",
        f"Expires: {at(600)}",
    )
    yield fresh_for(
        "9111 §5.3",
        "max-age wins over an invalid Expires",
        60,
        "Cache-Control: max-age=60",
        "Expires: 0",
    )
    yield fresh_for(
        "9111 §5.3",
        "s-maxage wins over an Expires in the past",
        60,
        "Cache-Control: s-maxage=60",
        f"Expires: {at(-9)}",
    )
    yield fresh_for(
        "9111 §5.3",
        "two equal Expires lines are one",
        60,
        f"Expires: {at(60)}",
        f"Expires: {at(60)}",
    )
    yield stale_at_once(
        "9111 §4.2.1",
        "two different Expires lines are stale",
        f"Expires: {at(60)}",
        f"Expires: {at(600)}",
    )
    yield fresh_for(
        "9111 §4.2.1",
        "a Date in the past shortens nothing but the age",
        60,
        f"Date: {at(-40)}",
        "Cache-Control: max-age=100",
    )
    yield fresh_for(
        "9111 §4.2.1", "Expires counts from Date", 60, f"Date: {at(-40)}", f"Expires: {at(60)}"
    )
    # how it is written
    yield fresh_for("9111 §5.2", "names in any case", 60, "Cache-Control: Max-AGE=60")
    yield fresh_for("9111 §5.2", "quoted", 60, 'Cache-Control: max-age="60"')
    yield fresh_for("9111 §5.2", "leading zeros", 60, "Cache-Control: max-age=0060")
    yield fresh_for("9111 §5.2", "empty list members", 60, "Cache-Control: , ,max-age=60,,")
    yield fresh_for("9111 §5.2", "tabs and spaces", 60, "Cache-Control: \t public ,\t max-age=60 ")
    yield fresh_for(
        "9111 §5.2", "over two lines", 60, "Cache-Control: public", "Cache-Control: max-age=60"
    )
    yield fresh_for(
        "9111 §5.2",
        "behind an unknown quoted argument",
        60,
        'Cache-Control: x="max-age=5", max-age=60',
    )
    yield fresh_for("9111 §4.2.1", "twice the same", 60, "Cache-Control: max-age=60, max-age=60")
    yield fresh_for(
        "9111 §4.2.1", "twice, the shorter one first", 5, "Cache-Control: max-age=5, max-age=60"
    )
    yield fresh_for(
        "9111 §4.2.1", "twice, the shorter one last", 5, "Cache-Control: max-age=60, max-age=5"
    )
    yield fresh_for(
        "9111 §4.2.1",
        "twice, in two lines",
        5,
        "Cache-Control: max-age=60",
        "Cache-Control: max-age=5",
    )
    yield Scenario(
        "9111 §1.2.2",
        "too large a number is 2^31",
        [
            get(app=says("Cache-Control: max-age=99999999999999999999"), told=KEPT, ttl=2**31),
            get(after=86400, told="hit", run=1, ttl=2**31 - 86400),
        ],
    )
    for value in MALFORMED:
        yield stale_at_once(
            "9111 §4.2.1",
            f"max-age={value} is stale",
            f"Cache-Control: max-age={value.encode().decode('latin-1')}",
        )
    for value in ("abc", "-1", "1.5", ""):
        yield stale_at_once(
            "9111 §4.2.1",
            f"s-maxage={value} is stale, whatever max-age says",
            f"Cache-Control: max-age=60, s-maxage={value}",
        )
    yield stale_at_once(
        "9111 §5.2", "a space before = spoils the argument", "Cache-Control: max-age =60"
    )
    yield stale_at_once(
        "9111 §5.2", "a space behind = spoils the argument", "Cache-Control: max-age= 60"
    )
    for value in BAD_EXPIRES:
        yield stale_at_once("9111 §5.3", f"Expires: {value!r} is in the past", f"Expires: {value}")
    yield fresh_for(
        "9110 §5.6.7", "an Expires of RFC 850", 60, "Expires: Tuesday, 14-Nov-23 22:14:20 GMT"
    )
    yield fresh_for("9110 §5.6.7", "an Expires of asctime", 60, "Expires: Tue Nov 14 22:14:20 2023")
    # heuristics (§4.2.2)
    yield fresh_for(
        "9111 §4.2.2", "a tenth of the time since Last-Modified", 100, f"Last-Modified: {at(-1000)}"
    )
    yield Scenario(
        "9111 §4.2.2",
        "at most a day",
        [
            get(app=says(f"Last-Modified: {at(-86400 * 3650)}"), told=KEPT, ttl=86400),
        ],
    )
    yield stale_at_once(
        "9111 §4.2.2", "none for a Last-Modified in the future", f"Last-Modified: {at(1000)}"
    )
    yield stale_at_once(
        "9111 §4.2.2", "none for an unreadable Last-Modified", "Last-Modified: once"
    )
    for status in (200, 203, 204, 300, 301, 308, 404, 405, 410, 414):
        yield Scenario(
            "9111 §4.2.2",
            f"for {status}",
            [
                get(
                    app=says(f"Last-Modified: {at(-1000)}", status=status, body=b""),
                    told=KEPT,
                    status=status,
                    ttl=100,
                ),
                get(told="hit", status=status),
            ],
        )
    for status in (201, 302, 307):
        yield Scenario(
            "9111 §4.2.2",
            f"not for {status}",
            [
                get(
                    app=says(f"Last-Modified: {at(-1000)}", status=status),
                    told="fwd=uri-miss detail=status",
                    status=status,
                ),
            ],
        )
    yield Scenario(
        "9111 §4.2.2",
        "not where the origin says no-cache",
        [
            get(
                app=says(f"Last-Modified: {at(-1000)}", "Cache-Control: no-cache"), told=KEPT, ttl=0
            ),
            get(app=says(), told="fwd=stale detail=no-lifetime"),
        ],
    )
    # age (§4.2.3, §5.1)
    for lines, age in (
        (["Age: 10"], 10),
        (["Age: 10", "Age: 30"], 10),
        (["Age: 10, 30"], 10),
        (["Age: abc"], 0),
        (["Age: -10"], 0),
        (["Age: 1.5"], 0),
        (["Age: "], 0),
        (["Age:  10 "], 10),
        ([f"Date: {at(-20)}"], 20),
        ([f"Date: {at(-20)}", "Age: 30"], 30),
        ([f"Date: {at(-40)}", "Age: 30"], 40),
        ([f"Date: {at(+40)}"], 0),
        (["Date: never", "Age: 3"], 3),
    ):
        yield Scenario(
            "9111 §4.2.3",
            f"{', '.join(lines)} is an age of {age}",
            [
                get(app=says("Cache-Control: max-age=100", *lines), told=KEPT, ttl=100 - age),
                get(after=5, told="hit", run=1, ttl=95 - age, has=(f"age: {age + 5}",)),
            ],
        )
    yield Scenario(
        "9111 §5.1",
        "an Age beyond all numbers is stale",
        [
            get(
                app=says("Cache-Control: max-age=100", "Age: 99999999999999"),
                told="fwd=uri-miss detail=no-lifetime",
            ),
        ],
    )
    yield Scenario(
        "9111 §4",
        "a hit has one Age, its own",
        [
            get(app=says("Cache-Control: max-age=100", "Age: 10"), told=KEPT, has=("age: 10",)),
            get(after=1, told="hit", run=1, has=("age: 11",)),
            get(after=80, told="hit", run=1, has=("age: 91",)),
        ],
    )
    # targeted fields (RFC 9213)
    yield fresh_for(
        "9213 §2.2",
        "CDN-Cache-Control wins over Cache-Control",
        60,
        "CDN-Cache-Control: max-age=60",
        "Cache-Control: no-store",
    )
    yield fresh_for(
        "9213 §2.2", "and over Expires", 60, "CDN-Cache-Control: max-age=60", "Expires: 0"
    )
    yield fresh_for(
        "9213 §2.2",
        "our own target wins over CDN-Cache-Control",
        60,
        "Cachemw-Cache-Control: max-age=60",
        "CDN-Cache-Control: no-store",
    )
    yield fresh_for(
        "9213 §2.2",
        "an empty one is absent",
        60,
        "CDN-Cache-Control: ",
        "Cache-Control: max-age=60",
    )
    yield fresh_for(
        "9213 §2.1",
        "an invalid one is absent",
        60,
        "CDN-Cache-Control: max-age=, &",
        "Cache-Control: max-age=60",
    )
    yield fresh_for(
        "9213 §2.1",
        "upper case is invalid there",
        60,
        "CDN-Cache-Control: Max-Age=5",
        "Cache-Control: max-age=60",
    )
    yield stale_at_once(
        "9213 §2.1", "a quoted number is not coerced", 'CDN-Cache-Control: max-age="60"'
    )
    yield stale_at_once(
        "9213 §2.2", "Expires is ignored beside one", "CDN-Cache-Control: x", f"Expires: {at(60)}"
    )
    yield fresh_for("9213 §2.1", "parameters mean nothing", 60, "CDN-Cache-Control: max-age=60;x=1")
    yield fresh_for(
        "9213 §2.1",
        "a directive that is false is absent",
        60,
        "CDN-Cache-Control: no-store=?0, max-age=60",
    )
    for directive, reason in (
        ("no-store", "no-store"),
        ("private", "private"),
        ("no-cache", "no-lifetime"),
    ):
        yield Scenario(
            "9213 §2.2",
            f"{directive} there wins over a lifetime in Cache-Control",
            [
                get(
                    app=says(f"CDN-Cache-Control: {directive}", "Cache-Control: max-age=60"),
                    told=f"fwd=uri-miss detail={reason}",
                ),
            ],
        )
    yield Scenario(
        "9213 §2.2",
        "CDN-Cache-Control is passed on, our own target is not",
        [
            get(
                app=says(
                    "CDN-Cache-Control: max-age=60",
                    "Cache-Control: max-age=1",
                    "Cachemw-Cache-Control: max-age=9",
                ),
                told=KEPT,
                ttl=9,
                has=("cdn-cache-control: max-age=60", "cache-control: max-age=1"),
                lacks=("cachemw-cache-control",),
            ),
            get(
                told="hit",
                run=1,
                has=("cdn-cache-control: max-age=60",),
                lacks=("cachemw-cache-control",),
            ),
        ],
    )
    # policy
    yield fresh_for("policy", "ttl is the lifetime where the origin says nothing", 60, ttl="1m")
    yield fresh_for(
        "policy", "the origin's word wins over ttl", 5, "Cache-Control: max-age=5", ttl=60
    )
    yield fresh_for(
        "policy", "ttl wins over a heuristic lifetime", 60, f"Last-Modified: {at(-1000)}", ttl=60
    )
    yield fresh_for("policy", "a function gives the ttl", 7, ttl=lambda response: 7)
    yield fresh_for("policy", "ttl_by_status wins over ttl", 7, ttl=60, ttl_by_status={200: 7})
    yield Scenario(
        "policy",
        "force wins over max-age",
        [
            get(app=says("Cache-Control: max-age=5"), told=KEPT, ttl=60),
            get(after=59, told="hit", run=1),
            get(after=1, app=says(), told=KEPT),
        ],
        policy(ttl=60, force=True),
    )
    yield Scenario(
        "policy",
        "a function that gives None leaves it to the origin",
        [
            get(app=says(), told="fwd=uri-miss detail=no-lifetime"),
            get(app=says("Cache-Control: max-age=9"), told=f"{KEPT} detail=uncacheable", ttl=9),
        ],
        policy(ttl=lambda response: None),
    )
    yield Scenario(
        "policy",
        "jitter takes off no more than its share",
        [
            get(app=says(), told=KEPT),
            get(after=500, told="hit", run=1),
            get(after=500, app=says(), told=KEPT),
        ],
        policy(ttl=1000, jitter=0.5),
    )


SCENARIOS = list(_scenarios())
