"""Does a worker grow? One app with everything, on a server, and as many requests as you say.

    python -m tests.faults.growth 1000000

Hits, misses, purges, values, sessions and limits in turn, within this process; its memory is
printed twenty times. The first tenth, in which all is used for the first time, does not count.
"""

import asyncio
import os
import sys
import tempfile

from cachemw.testing import Client
from tests import servers
from tests.servers import VALKEY

TARGETS = ("/item/{}", "/mine/{}", "/data/{}", "/closed", "/session")
MOST = 5 << 20  # bytes


async def grow(many: int) -> int:
    with servers.single(VALKEY) as server, tempfile.TemporaryDirectory() as database:
        os.environ |= {"FAULTS_STORE": server.url + "?deadline=5s", "FAULTS_DATABASE": database}
        from tests.faults.app import app, memory

        client, sizes = Client(app), list[int]()
        for number in range(many):
            headers = {"x-key": f"k{number % 50_000}", "authorization": f"Bearer u{number % 97}"}
            await client.get(TARGETS[number % len(TARGETS)].format(number % 3000), headers=headers)
            if number % 500 == 499:
                await client.request("POST", f"/write?key={number % 100}&version={number}")
            if (number + 1) % max(1, many // 20) == 0:
                sizes.append(memory())
                print(f"{number + 1:9} requests  {sizes[-1] / 1e6:6.1f} MB", flush=True)
        await app.state.cachemw.store.aclose()
    grown = sizes[-1] - sizes[1]
    print(f"grown by {grown / 1e6:.1f} MB after the first tenth")
    return int(grown > MOST)


if __name__ == "__main__":
    sys.exit(asyncio.run(grow(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)))
