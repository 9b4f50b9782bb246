"""Every row in its long form, and the table in docs/reliability.md written anew.

python3 run.py faults          takes pytest's arguments, such as -m "not slow" for the short form

Each app has four workers then, where the test suite does with two.
"""

import os
import sys

import pytest

if __name__ == "__main__":
    os.environ["FAULTS_PAGE"] = "write"
    os.environ.setdefault("FAULTS_WORKERS", "4")
    sys.exit(pytest.main(["tests/faults", "-n", "0", "-q", *sys.argv[1:]]))
