"""A reconnect storm: thousands of clients come back as fast as they can, each some events behind.

What a replayed event costs is the CPU of such a storm less that of one in which nobody missed anything.
"""

import statistics
from typing import Any

from .contenders import Databases, running
from .load import Crowd

__all__ = ["measure"]

MISSED = 50


async def measure(databases: Databases, *, quick: bool) -> dict[str, Any]:
    clients, rounds = (300, 1) if quick else (5000, 5)
    results: dict[str, Any] = {"clients": clients, "missed": MISSED, "contenders": {}}
    for name in ["sqlite"] if quick else ["memory", "sqlite", "postgresql"]:
        with running(name, databases) as server:
            watcher = Crowd(server.port)
            await watcher.connect(server.path(), 1)
            costs: dict[str, list[float]] = {"missed": [], "nothing missed": []}
            reads = []
            for number in range(rounds + 1):
                before = await server.state()
                await server.publish(MISSED, 0.002)
                await watcher.delivered(MISSED)
                now = await server.state()
                for case, cursor in (("nothing missed", now["cursor"]), ("missed", before["cursor"])):
                    headers = b"Last-Event-ID: %s\r\n" % cursor.encode()
                    # Nothing missed: the headers and the opening are all there is. Else the last event must have come.
                    until = b"retry: 3000\n" if case == "nothing missed" else b"id: %s\n" % now["cursor"].encode()
                    crowd = Crowd(server.port, headers=headers, until=until)
                    cpu = server.cpu_seconds()
                    reads_before = (await server.state())["reads"]
                    await crowd.connect(server.path(), clients, each=clients)
                    took = (server.cpu_seconds() - cpu) / clients * 1e6
                    if number:  # the first is to warm
                        costs[case].append(took)
                        if case == "missed":
                            reads.append((await server.state())["reads"] - reads_before)
                    await crowd.close()
            found = {case: statistics.median(each) for case, each in costs.items()}
            results["contenders"][server.name] = {
                "connect_us": found["nothing missed"],
                "replayed_event_us": (found["missed"] - found["nothing missed"]) / MISSED,
                "broker_reads": max(reads),
            }
            await watcher.close()
    return results
