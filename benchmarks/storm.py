"""A reconnect storm: thousands of clients come back as fast as they can, each some events behind.

What a replayed event costs is the CPU of such a storm less that of one in which nobody missed anything. With fifty
events that is lost in the noise of connecting, so it is measured with ten times as many.
"""

import statistics
from typing import Any

from .contenders import Databases, Running, running
from .load import Crowd

__all__ = ["measure"]

MISSED = 50
MEASURED = 500


async def measure(databases: Databases, *, quick: bool) -> dict[str, Any]:
    """One storm of all clients for the reads, and smaller ones in turns for what an event costs."""
    clients, each, rounds = (300, 100, 1) if quick else (5000, 500, 8)
    results: dict[str, Any] = {"clients": clients, "missed": MISSED, "measured": MEASURED, "contenders": {}}
    for name in ["sqlite"] if quick else ["memory", "sqlite", "postgresql"]:
        with running(name, databases) as server:
            watcher = Crowd(server.port)
            await watcher.connect(server.path(), 1)
            far = (await server.state())["cursor"]
            await server.publish(MEASURED - MISSED, 0.002)
            await watcher.delivered(MEASURED - MISSED)
            behind = (await server.state())["cursor"]
            await server.publish(MISSED, 0.002)
            await watcher.delivered(MISSED)
            now = (await server.state())["cursor"]
            await storm(server, behind, now, 200)  # to warm
            costs: dict[str, list[float]] = {far: [], now: []}
            for number in range(rounds):
                for cursor in (far, now) if number % 2 else (now, far):
                    costs[cursor].append((await storm(server, cursor, now, each))[0])
            connect = statistics.median(costs[now])
            results["contenders"][server.name] = {
                "connect_us": connect,
                "replayed_event_us": (statistics.median(costs[far]) - connect) / MEASURED,
                "broker_reads": (await storm(server, behind, now, clients))[1],
            }
            await watcher.close()
    return results


async def storm(server: Running, cursor: str, now: str, clients: int) -> tuple[float, int]:
    """Return CPU µs for each client, and the reads of the broker, until all have what they missed."""
    # Who missed nothing is there when the stream's opening came, others when they have the last event.
    until = b"retry: 3000\n" if cursor == now else b"id: %s\n" % now.encode()
    crowd = Crowd(server.port, headers=b"Last-Event-ID: %s\r\n" % cursor.encode(), until=until)
    reads = (await server.state())["reads"]
    cpu = server.cpu_seconds()
    await crowd.connect(server.path(), clients, each=clients)
    took = server.cpu_seconds() - cpu
    reads = (await server.state())["reads"] - reads
    await crowd.close()
    return took / clients * 1e6, reads
