"""Whether the load generator is fast enough: it must outrun the fastest app by far.

Its own cost is its CPU time a request while it drives a raw ASGI app; what it could do alone is
the inverse of that. While the app's core is always busy and ours is not, the app is measured.
"""

import time
from itertools import cycle

from benchmarks.apps.origin import body
from benchmarks.load import drive, request
from benchmarks.servers import serving
from benchmarks.subjects import RAW

SECONDS = 3.0


def calibrate() -> None:
    with serving(RAW, counting=False) as server:
        if server is None:
            return
        exchange = request("/item/1"), body(1)
        for connections in (1, 32, 128):
            drive(server.port, [cycle([exchange])] * connections, 0.5)
            ours, its = time.process_time(), server.cpu()
            load = drive(server.port, [cycle([exchange])] * connections, SECONDS)
            ours, its = time.process_time() - ours, server.cpu() - its
            print(
                f"{connections:4} connections: {load.rate:,.0f}/s; the app's core is busy "
                f"{its / load.seconds:.0%}, the generator {ours / load.seconds:.0%} "
                f"({1e6 * ours / load.requests:.1f} us a request, so {load.requests / ours:,.0f}/s "
                "at most)"
            )
