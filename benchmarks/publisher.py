"""What publishes: within a server, or as a process of its own beside it, which reads orders: a JSON object a line."""

import asyncio
import json
import random
import sys
import time

__all__ = ["publish_all", "text"]


def text(padding):
    """Return the data of an event: when it was sent, and as many spaces more."""
    return f"{time.monotonic_ns()}{' ' * padding}"


async def publish_all(send, events, interval=0.0, padding=60.0, channels=1.0):
    """Send events, one each ``interval`` seconds, to the channel ``bench``, or each to one of many: ``bench-7``."""
    loop = asyncio.get_running_loop()
    due = loop.time()
    for _ in range(int(events)):
        channel = "bench" if channels == 1 else f"bench-{random.randrange(int(channels))}"
        await send(channel, text(int(padding)))
        due += interval
        await asyncio.sleep(due - loop.time())


def main():
    from . import project  # it sets Django up

    print("ready", flush=True)
    for line in sys.stdin:
        asyncio.run(publish_all(project.send, **json.loads(line)))
        print("done", flush=True)


if __name__ == "__main__":
    main()
