"""What the app under fault says: pages that can be recomputed from their first line.

    item 7 v3 for nobody
    5f3c…                          filler that follows from the line above, to the last byte

So a reader knows of every byte whether it is right, and which version, made for whom, it has got.
"""

from dataclasses import dataclass
from hashlib import shake_128

LARGE = 200_000  # goes over the connection for large values
USUAL = 600
QUOTA = 40  # of every limit, a day


@dataclass(frozen=True)
class Page:
    """What a page says of itself."""

    kind: str
    key: str
    version: int
    who: str

    def to_bytes(self) -> bytes:
        line = f"{self.kind} {self.key} v{self.version} for {self.who}\n".encode()
        size = LARGE if self.key.endswith("large") else USUAL
        return line + shake_128(line).hexdigest(size // 2).encode()


def from_bytes(body: bytes) -> Page:
    """The page that a body is, to the last byte; ValueError when it is none."""
    line = body.partition(b"\n")[0].decode()
    try:
        kind, key, version, word, who = line.split(" ")
        page = Page(kind, key, int(version.removeprefix("v")), who)
    except ValueError:
        raise ValueError(f"no page: {body[:80]!r}") from None
    if word != "for" or page.to_bytes() != body:
        raise ValueError(f"bytes that were never sent under {line!r}")
    return page
