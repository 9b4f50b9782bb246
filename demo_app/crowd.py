"""Fifty visitors at once. A browser opens six connections to a host at most, so that they cannot
come from the page: this asks our own server, over fifty connections of its own.
"""

import asyncio
import json
import time

from starlette.datastructures import Headers

from demo_app.log import outcome

VISITORS = 50


async def crowd(address: tuple[str, int], path: str) -> dict[str, object]:
    """What each of the visitors saw, and how many different answers there were."""
    seen = await asyncio.gather(*(visit(address, path) for _ in range(VISITORS)))
    answers = {str(body) for _, _, body in seen}
    return {
        "path": path,
        "visitors": [{"outcome": outcome, "ms": ms} for outcome, ms, _ in seen],
        "runs": len(answers),
    }


async def visit(address: tuple[str, int], path: str) -> tuple[str, float, object]:
    """One visitor: the outcome, milliseconds, and the JSON body."""
    started = time.perf_counter()
    reader, writer = await asyncio.open_connection(*address)
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: demo\r\nConnection: close\r\n\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        headers = Headers(dict(line.split(": ", 1) for line in lines[1:] if line))
        body = await reader.readexactly(int(headers["content-length"]))
    finally:
        writer.close()
    took = round((time.perf_counter() - started) * 1000, 1)
    return outcome(int(lines[0].split()[1]), headers), took, json.loads(body)
