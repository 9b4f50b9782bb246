"""Serve the demo on this machine only: `python -m demo_app --port 8000 [--plain]`."""

import argparse
from contextlib import suppress
from importlib import import_module
from types import FrameType

import uvicorn

from demo_app.log import Log


def main() -> None:
    options = argparse.ArgumentParser(prog="run.py demo", description=__doc__)
    options.add_argument("--port", type=int, default=8000)
    options.add_argument("--plain", action="store_true", help="the variant in plain Starlette")
    given = options.parse_args()
    serve(given.port, plain=given.plain)


def serve(port: int, *, plain: bool) -> None:
    demo = import_module("demo_app.plain" if plain else "demo_app.main")
    config = uvicorn.Config(
        demo.app,
        host="127.0.0.1",
        port=port,
        log_level="warning",  # the page has a log of its own
        timeout_graceful_shutdown=3,
    )
    print(f"The tour is at http://127.0.0.1:{port}/  (Ctrl-C ends it)", flush=True)
    with suppress(KeyboardInterrupt):  # as uvicorn.run does
        Server(config, demo.backstage.log).run()


class Server(uvicorn.Server):
    """Lets go of those who follow the log before it waits for all connections to end."""

    def __init__(self, config: uvicorn.Config, log: Log) -> None:
        super().__init__(config)
        self.log = log

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self.log.is_closed = True
        super().handle_exit(sig, frame)


if __name__ == "__main__":
    main()
