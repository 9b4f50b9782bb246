"""Parts of a stored response: RFC 9110 §14, RFC 9111 §3.3 and §3.4."""

from collections.abc import Iterator

from tests.conformance.play import Scenario, at, get, says

KEPT = "fwd=uri-miss stored"
FRESH = "Cache-Control: max-age=60"
BODY = b"0123456789"
WHOLE = get(
    app=says(FRESH, 'ETag: "a"', f"Last-Modified: {at(-1000)}", f"Date: {at(0)}", body=BODY),
    told=KEPT,
    text=BODY,
)


def _scenarios() -> Iterator[Scenario]:
    for asked, status, text, content_range in (
        ("bytes=0-4", 206, b"01234", "bytes 0-4/10"),
        ("bytes=5-", 206, b"56789", "bytes 5-9/10"),
        ("bytes=-3", 206, b"789", "bytes 7-9/10"),
        ("bytes=-30", 206, BODY, "bytes 0-9/10"),
        ("bytes=8-99", 206, b"89", "bytes 8-9/10"),
        ("bytes=0-0", 206, b"0", "bytes 0-0/10"),
        ("BYTES=0-0", 206, b"0", "bytes 0-0/10"),
        ("bytes=0-3,2-5", 206, b"012345", "bytes 0-5/10"),
        ("bytes=10-", 416, b"", "bytes */10"),
        ("bytes=-0", 416, b"", "bytes */10"),
        ("bytes=5-2", 200, BODY, None),
        ("bytes=", 200, BODY, None),
        ("bytes=a-b", 200, BODY, None),
        ("items=0-4", 200, BODY, None),
        ("bytes 0-4", 200, BODY, None),
        ("bytes=" + ",".join(["0-0"] * 40), 200, BODY, None),
        ("bytes=0-99999999999999999999999", 200, BODY, None),
    ):
        has = (
            (f"content-range: {content_range}", f"content-length: {len(text)}")
            if content_range
            else ()
        )
        lacks = () if content_range else ("content-range",)
        yield Scenario(
            "9110 §14.2",
            f"Range: {asked[:40]}",
            [
                WHOLE,
                get(f"Range: {asked}", told="hit", status=status, text=text, has=has, lacks=lacks),
            ],
        )
    for condition, status in (
        ('"a"', 206),
        ('W/"a"', 200),
        ('"b"', 200),
        (at(-1000), 206),
        (at(-999), 200),
        ("nonsense", 200),
        ("a", 200),
    ):
        yield Scenario(
            "9110 §13.1.5",
            f"If-Range: {condition}",
            [
                WHOLE,
                get(
                    "Range: bytes=0-1",
                    f"If-Range: {condition}",
                    told="hit",
                    status=status,
                    text=b"01" if status == 206 else BODY,
                ),
            ],
        )
    yield Scenario(
        "9110 §13.2.2",
        "If-None-Match comes before Range",
        [
            WHOLE,
            get("Range: bytes=0-1", 'If-None-Match: "a"', told="hit", status=304),
            get("Range: bytes=0-1", 'If-None-Match: "b"', told="hit", status=206, text=b"01"),
        ],
    )
    yield Scenario(
        "9110 §14.2",
        "no parts of what is not 200",
        [
            get(app=says(FRESH, status=404, body=BODY), told=KEPT, status=404, text=BODY),
            get("Range: bytes=0-1", told="hit", status=404, text=BODY),
        ],
    )
    yield Scenario(
        "9111 §3.3",
        "a part that the app cuts out is handed on, and not kept",
        [
            get(
                "Range: bytes=0-1",
                app=says(FRESH, "Content-Range: bytes 0-1/10", status=206, body=b"01"),
                told="fwd=uri-miss detail=partial",
                status=206,
                text=b"01",
                saw=("range: bytes=0-1",),
            ),
            get(app=says(FRESH, body=BODY), told=KEPT, text=BODY, saw=("!range",)),
            get("Range: bytes=0-1", told="hit", status=206, text=b"01"),
        ],
    )


SCENARIOS = list(_scenarios())
