"""A Python prompt with a store open, where `await store.get(b"key")` works.

One event loop runs in a thread of its own for the whole session, so that what the store does in the
background goes on while you think.
"""

import ast
import asyncio
import code
import inspect
import os
import threading
from types import CodeType, FunctionType
from typing import Any

from cachemw import open_store


class Prompt(code.InteractiveConsole):
    """The usual prompt, where what is typed may await on `loop`."""

    def __init__(self, names: dict[str, Any], loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(names)
        self.loop = loop
        self.compile.compiler.flags |= ast.PyCF_ALLOW_TOP_LEVEL_AWAIT

    def runcode(self, code: CodeType) -> None:
        future = asyncio.run_coroutine_threadsafe(self.run(code), self.loop)
        try:
            leaving = future.result()
        except KeyboardInterrupt:
            future.cancel()
            self.write("\nKeyboardInterrupt\n")
        except BaseException:
            self.showtraceback()
        else:
            if leaving:
                raise leaving

    async def run(self, code: CodeType) -> SystemExit | None:
        """What ends the prompt is returned: raised in a task, it would silently end the loop."""
        try:
            result = FunctionType(code, self.locals)()
            if inspect.isawaitable(result):
                await result
        except SystemExit as leaving:
            return leaving
        return None


def main() -> None:
    url = os.environ.get("CACHEMW_REDIS_URL") or "embedded://"
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()

    store = open_store(url)
    asyncio.run_coroutine_threadsafe(store.open(), loop).result()
    try:
        Prompt({"store": store, "__name__": "__console__"}, loop).interact(
            banner=f"store = open_store({url!r}); try: await store.time()", exitmsg=""
        )
    finally:
        asyncio.run_coroutine_threadsafe(store.aclose(), loop).result()
        loop.call_soon_threadsafe(loop.stop)


if __name__ == "__main__":
    main()
