"""A program that uses streams in several event loops, one after another, and prints what is left: threads and files."""

import asyncio
import os
import sys
import threading
import time

import django

django.setup()

from tests.channel_client import Client  # noqa: E402


async def use():
    client = Client("c")
    await client.driver.begin()
    client.driver.attach(client.write, lambda _: None)
    await client.take(1)


def main(way):
    before = threading.active_count()
    for _ in range(8):
        if way == "run":
            asyncio.run(use())
        else:
            loop = asyncio.new_event_loop()
            loop.run_until_complete(use())
            loop.close()
    if way == "close":  # the next loop with streams finds them
        asyncio.run(use())
    deadline = time.monotonic() + 20
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    databases = [name for name in os.listdir("/proc/self/fd") if _target(name).endswith("sqlite3")]
    print(threading.active_count() - before, len(databases))


def _target(name):
    try:
        return os.readlink(f"/proc/self/fd/{name}")
    except OSError:
        return ""


main(sys.argv[1])
