"""A bound on how many initial states are computed at once."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator

__all__ = ["Turns"]


# Initial states that are computed at once, and so the threads and database connections that they take.
AT_ONCE = 16
TURN_SECONDS = 10.0


class Turns:
    """Bounds how many initial states are computed at once in one event loop: after a reset all streams want theirs."""

    def __init__(self) -> None:
        self._free = asyncio.Semaphore(AT_ONCE)

    @contextlib.asynccontextmanager
    async def turn(self) -> AsyncIterator[bool]:
        """Wait for a turn, and tell whether there was one.

        One that takes too long is not waited for, and a state that keeps its own for so long gives it back: it may
        never end, and is somebody else's.
        """
        if self._free.locked():
            try:
                async with asyncio.timeout(TURN_SECONDS * random.uniform(0.5, 1)):
                    await self._free.acquire()
            except TimeoutError:
                yield False
                return
        else:
            await self._free.acquire()
        loop, held = asyncio.get_running_loop(), [True]

        def release() -> None:
            if held.pop() if held else False:
                self._free.release()

        timer = loop.call_later(TURN_SECONDS, release)
        try:
            yield True
        finally:
            timer.cancel()
            release()
