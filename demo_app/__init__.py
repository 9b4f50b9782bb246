"""The demonstration app: `python3 run.py demo`."""
