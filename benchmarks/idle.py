"""Many connections on which nothing happens but a heartbeat each 15 s: the share of a core that takes."""

import asyncio
import time
from typing import Any

from .contenders import Databases, running
from .load import Crowd

__all__ = ["measure"]

HEARTBEAT_SECONDS = 15


async def measure(databases: Databases, *, quick: bool) -> dict[str, Any]:
    connections, seconds = (500, 0.6 * HEARTBEAT_SECONDS) if quick else (10_000, 3 * HEARTBEAT_SECONDS)
    results: dict[str, Any] = {"connections": connections, "seconds": seconds, "contenders": {}}
    for name in ["memory"] if quick else ["memory", "nchan", "starlette"]:
        with running(name, databases) as server:
            crowd = Crowd(server.port)
            await crowd.connect(server.path(), connections)
            await asyncio.sleep(2)
            bytes_before, cpu, began = crowd.bytes, server.cpu_seconds(), time.monotonic()
            await asyncio.sleep(seconds)
            results["contenders"][server.name] = {
                "cpu_percent": (server.cpu_seconds() - cpu) / (time.monotonic() - began) * 100,
                "bytes_per_connection": (crowd.bytes - bytes_before) / connections,
            }
            await crowd.close()
    return results
