"""Unicast: a channel for each connection, and events to one of them at a time. What an event costs the server."""

import statistics
from typing import Any

from .contenders import Databases, running
from .load import Crowd

__all__ = ["measure"]

INTERVAL = 0.004


async def measure(databases: Databases, *, quick: bool) -> dict[str, Any]:
    """Few channels and many, in turns, each with a server of its own."""
    few, many, events, rounds = (100, 500, 100, 1) if quick else (100, 10_000, 500, 4)
    results: dict[str, Any] = {"few": few, "many": many, "contenders": {}}
    for name in ["memory"] if quick else ["memory", "nchan"]:
        with running(name, databases) as with_few, running(name, databases) as with_many:
            sides = []
            for server, channels in ((with_few, few), (with_many, many)):
                crowd = Crowd(server.port)
                await crowd.connect(server.path, channels)
                sides.append((server, crowd, channels))
            costs: dict[int, list[float]] = {few: [], many: []}
            for number in range(rounds + 1):
                for server, crowd, channels in sides:
                    cpu = server.cpu_seconds()
                    await server.publish(events, INTERVAL, channels=channels)
                    await crowd.delivered(events)
                    if number:  # the first is to warm
                        costs[channels].append((server.cpu_seconds() - cpu) / events * 1e6)
            found = {channels: statistics.median(each) for channels, each in costs.items()}
            results["contenders"][with_few.name] = {
                "cpu_us_few": found[few],
                "cpu_us_many": found[many],
                "ratio": found[many] / found[few],
            }
            for _, crowd, _ in sides:
                await crowd.close()
    return results
