"""What a session adds to a response: that it depends on the cookie, and that nobody may keep it."""

from cachemw.messages import Header, Headers

_PRIVATE = frozenset({b"private", b"no-store"})
_OURS: Headers = ((b"vary", b"Cookie"), (b"cache-control", b"private, no-store"))


def marked(headers: Headers, *, used: bool, cookie: Header | None) -> Headers:
    """The headers of a response that used its session, or that sets or removes the cookie.

    An app that says `private` or `no-store` itself has thought about it, and keeps its word. But a
    response that carries an id is not to be stored by anyone (ASVS 14.3.2).
    """
    if used or cookie is not None:
        names = b" ".join(dict(headers)).lower()
        if b"vary" not in names and b"cache-control" not in names:
            ours = (*headers, *_OURS)
            return ours if cookie is None else (*ours, cookie)
        headers = _varying(headers)
        said = {word for word in _directives(headers) if word in _PRIVATE}
        if b"no-store" not in said and (cookie is not None or not said):
            headers = _replaced(headers, b"cache-control", b"private, no-store")
    return headers if cookie is None else (*headers, cookie)


def _varying(headers: Headers) -> Headers:
    lines = [value for name, value in headers if name.lower() == b"vary"]
    words = {word.strip().lower() for line in lines for word in line.split(b",")}
    if b"cookie" in words or b"*" in words:
        return headers
    return _replaced(headers, b"vary", b", ".join([*(line for line in lines if line), b"Cookie"]))


def _directives(headers: Headers) -> list[bytes]:
    return [
        word.partition(b"=")[0].strip().lower()
        for name, value in headers
        if name.lower() == b"cache-control"
        for word in value.split(b",")
    ]


def _replaced(headers: Headers, name: bytes, value: bytes) -> Headers:
    return (*(pair for pair in headers if pair[0].lower() != name), (name, value))
