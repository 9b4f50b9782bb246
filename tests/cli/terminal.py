"""The command as people run it: a process, on a terminal of some size, or with pipes."""

import fcntl
import io
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

from cachemw.cli import main

ROOT = Path(__file__).parents[2]
# What a shell has begun in the background is deaf to Ctrl-C, with all that it begins.
_HEARS = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
CACHEMW = [sys.executable, "-c", f"{_HEARS}; from cachemw.cli import main; main()"]


@dataclass(frozen=True, slots=True)
class Ended:
    """What came of a command."""

    code: int
    out: str
    err: str = ""

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()


def environment(changes: Mapping[str, str] | None = None) -> dict[str, str]:
    """Ours, without settings that somebody has made for himself."""
    ours = {k: v for k, v in os.environ.items() if not k.startswith(("CACHEMW_", "COLUMNS"))}
    plain = {"PYTHONPATH": str(ROOT), "TERM": "xterm-256color", "PYTHONWARNINGS": "error"}
    return {**ours, **plain, **(changes or {})}


def piped(*arguments: str, **env: str) -> Ended:
    """Its output goes to another program. Within this process, which is quicker."""
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2))
    code: object = 0
    with (
        patch.dict(os.environ, environment(env), clear=True),
        patch.object(sys, "stdin", io.StringIO()),
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        for module in [name for name in sys.modules if name.startswith("tests.cli.")]:
            if module.endswith("_app"):  # it reads the environment when it is imported
                del sys.modules[module]
        try:
            main(arguments)
        except SystemExit as ended:
            code = ended.code
    assert isinstance(code, int), code
    texts = [stream.buffer.getvalue().decode() for stream in (out, err)]
    return Ended(code, *texts)


def on_terminal(
    *arguments: str, columns: int = 80, typed: str = "", until: str = "", **env: str
) -> Ended:
    """All three of its streams are one terminal, `columns` wide; `typed` is what somebody types.
    With `until`, somebody presses Ctrl-C as soon as he has seen that."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    shown: list[bytes] = []
    seen = threading.Event()

    def read() -> None:
        while True:
            try:
                shown.append(os.read(ours, 65536))
            except OSError:  # the other end was closed
                return
            if not shown[-1]:
                return
            if until and until.encode() in b"".join(shown):
                seen.set()

    reader = threading.Thread(target=read)
    try:
        process = subprocess.Popen(
            [*CACHEMW, *arguments],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=environment(env),
            cwd=ROOT,
            start_new_session=True,
        )
        os.close(theirs)
        reader.start()
        if typed:
            os.write(ours, typed.encode())
        if until:
            assert seen.wait(60), shown
            process.send_signal(signal.SIGINT)
        code = process.wait(timeout=60)
        reader.join(timeout=10)
    finally:
        os.close(ours)
    text = b"".join(shown).decode("utf-8", "replace").replace("\r\n", "\n")
    assert "Traceback" not in text, text
    return Ended(code, text)
