"""Opening a stream, beside an ordinary view with the same middleware: connect, ask, read the first bytes, leave."""

import statistics
from typing import Any

from .contenders import COOKIE, Databases, running
from .load import Crowd

__all__ = ["measure"]

PATHS = {"an ordinary view": "/page/", "@channel_stream": "/stream/?channel=bench", "@event_stream": "/decorated/"}


async def measure(databases: Databases, *, quick: bool) -> dict[str, Any]:
    requests, rounds = (60, 2) if quick else (200, 12)
    with running("memory", databases) as server:
        watcher = Crowd(server.port)
        await watcher.connect(server.path(), 1)
        costs: dict[str, list[float]] = {name: [] for name in PATHS}
        for number in range(rounds + 1):
            for name, path in PATHS.items():
                # A stream is open when its first event came; a page when it came.
                until = {"@channel_stream": b"event: ready", "@event_stream": b"retry: 3000"}.get(name, b"view.")
                crowd = Crowd(server.port, headers=COOKIE, until=until, closes=True)
                cpu = server.cpu_seconds()
                await crowd.connect(path, requests, each=20)
                await crowd.close()
                if number:  # the first is to warm
                    costs[name].append((server.cpu_seconds() - cpu) / requests * 1e6)
        await watcher.close()
    found = {name: statistics.median(each) for name, each in costs.items()}
    ordinary = found["an ordinary view"]
    return {name: {"cpu_us": cost, "ratio": cost / ordinary} for name, cost in found.items()}
