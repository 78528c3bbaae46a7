"""Many connections on which nothing happens but a heartbeat each 15 s: the share of a core that takes."""

import asyncio
import time
from typing import Any

from .contenders import Databases, running
from .load import Crowd

__all__ = ["measure"]

HEARTBEAT_SECONDS = 15


async def measure(databases: Databases, *, quick: bool) -> dict[str, Any]:
    connections, each = (500, 1) if quick else (10_000, HEARTBEAT_SECONDS)
    seconds = 2 * each
    results: dict[str, Any] = {"connections": connections, "each": each, "seconds": seconds, "contenders": {}}
    for name in ["memory"] if quick else ["memory", "nchan", "starlette"]:
        with running(name, databases, HEARTBEAT_SECONDS=str(each)) as server:
            crowd = Crowd(server.port)
            await crowd.connect(server.path(), connections)
            await asyncio.sleep(each)
            bytes_before, cpu, began = crowd.bytes, server.cpu_seconds(), time.monotonic()
            await asyncio.sleep(seconds)
            results["contenders"][server.name] = {
                "cpu_percent": (server.cpu_seconds() - cpu) / (time.monotonic() - began) * 100,
                "bytes_per_connection": (crowd.bytes - bytes_before) / connections,
            }
            await crowd.close()
    return results
