"""Serve the demo on this machine only: `python -m demo_app --port 8000 [--plain]`."""

import argparse

import uvicorn


def main() -> None:
    options = argparse.ArgumentParser(prog="run.py demo", description=__doc__)
    options.add_argument("--port", type=int, default=8000)
    options.add_argument("--plain", action="store_true", help="the variant in plain Starlette")
    given = options.parse_args()
    port: int = given.port
    app = "demo_app.plain:app" if given.plain else "demo_app.main:app"
    print(f"The tour is at http://127.0.0.1:{port}/  (Ctrl-C ends it)", flush=True)
    uvicorn.run(
        app,
        host="127.0.0.1",
        port=port,
        log_level="warning",  # the page has a log of its own
        timeout_graceful_shutdown=1,  # who has the page open follows the log, without end
    )


if __name__ == "__main__":
    main()
