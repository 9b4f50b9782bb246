"""Serve the demo on this machine only: `python -m demo_app --port 8000`."""

import argparse

import uvicorn


def main() -> None:
    options = argparse.ArgumentParser(prog="run.py demo", description=__doc__)
    options.add_argument("--port", type=int, default=8000)
    port: int = options.parse_args().port
    uvicorn.run("demo_app.main:app", host="127.0.0.1", port=port)


if __name__ == "__main__":
    main()
