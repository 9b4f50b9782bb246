"""Redis's glob patterns, as regular expressions over bytes.

    *       any bytes               [abc]    one of them         [a-c]   one in the range
    ?       one byte                [^abc]   none of them        \\x      x itself

Where Redis is peculiar, so are we: a class that is never closed ends with the pattern, a range may
be written backwards, `[]` matches nothing, and what ends a range is taken as it is. Ranges are for
ASCII: beyond it, servers on different machines disagree.
"""

import re


def glob_to_regex(pattern: bytes) -> re.Pattern[bytes]:
    """What `fullmatch`es just the keys that a server would find."""
    stretches: list[list[bytes]] = [[]]  # what stands between stars
    at = 0
    while at < len(pattern):
        char = pattern[at : at + 1]
        at += 1
        if char == b"*":
            stretches.append([])
        elif char == b"?":
            stretches[-1].append(b".")
        elif char == b"[":
            piece, at = _class(pattern, at)
            stretches[-1].append(piece)
        else:
            if char == b"\\" and at < len(pattern):
                char = pattern[at : at + 1]
                at += 1
            stretches[-1].append(re.escape(char))
    first, *rest = [b"".join(stretch) for stretch in stretches]
    if not rest:
        return re.compile(first, re.DOTALL)
    # The earliest place where a stretch fits is as good as any, so there is never a need to go
    # back to it: atomic groups keep many stars from taking exponential time.
    middle = b"".join(b"(?>.*?%b)" % stretch for stretch in rest[:-1])
    return re.compile(b"%b%b.*%b" % (first, middle, rest[-1]), re.DOTALL)


def _class(pattern: bytes, at: int) -> tuple[bytes, int]:
    """The class that begins after the bracket before `at`, and where the pattern goes on."""
    is_negated = pattern[at : at + 1] == b"^"
    at += is_negated
    chosen: set[int] = set()
    while at < len(pattern) and pattern[at] != ord("]"):
        if pattern[at] == ord("\\") and at + 1 < len(pattern):
            chosen.add(pattern[at + 1])
            at += 2
        elif pattern[at + 1 : at + 2] == b"-" and at + 2 < len(pattern):
            low, high = sorted((pattern[at], pattern[at + 2]))
            chosen.update(range(low, high + 1))
            at += 3
        else:
            chosen.add(pattern[at])
            at += 1
    if is_negated:
        chosen = set(range(256)) - chosen
    members = b"".join(b"\\x%02x" % member for member in sorted(chosen))
    return (b"[%b]" % members if members else b"(?!)"), at + 1
