"""Slow readers in the crowd: what the others notice of them, and what their coming back costs the log."""

import random
import statistics
from typing import Any

from .contenders import Databases, running
from .load import Crowd

__all__ = ["measure"]

PADDING = 3900
WINDOW = 4096


async def measure(databases: Databases, *, quick: bool) -> dict[str, Any]:
    return {
        "frozen": await frozen(databases, *((100, 1) if quick else (1000, 12))),
        "laggards": await laggards(databases, *((10, 100, 3000) if quick else (10, 1000, 10_000))),
    }


async def frozen(databases: Databases, connections: int, rounds: int) -> dict[str, Any]:
    """The same readers in both cases, without others and with every tenth that does not read."""
    readers, idlers = connections * 9 // 10, connections // 10
    with running("sqlite", databases) as without, running("sqlite", databases) as with_frozen:
        crowds = []
        for server in (without, with_frozen):
            crowd = Crowd(server.port)
            await crowd.connect(server.path(), readers)
            crowds.append((server, crowd, []))
        sleepers = Crowd(with_frozen.port, window=WINDOW)
        await sleepers.connect(with_frozen.path(), idlers)
        await sleepers.freeze()
        while (await with_frozen.state())["waiting"] < idlers:  # until the sockets of the frozen are full
            for server, crowd, _ in crowds:
                await server.publish(50, 0.01, PADDING)
                await crowd.delivered(readers * 50)
        pss = with_frozen.pss_bytes()
        for number in range(rounds):
            for server, crowd, latencies in crowds if number % 2 else crowds[::-1]:
                await server.publish(20, 0.05)
                found = await crowd.delivered(readers * 20)
                latencies.append(statistics.quantiles(found, n=100)[98] * 1e3)
        grown = with_frozen.pss_bytes() - pss
        p99 = [statistics.median(latencies) for _, _, latencies in crowds]  # one stall of the machine is one round's
        for _, crowd, _ in crowds:
            await crowd.close()
        await sleepers.close()
    return {
        "readers": readers,
        "frozen": idlers,
        "p99_ms_without": p99[0],
        "p99_ms_with": p99[1],
        "ratio": p99[1] / p99[0],
        "memory_growth_mb": grown / 1e6,
    }


async def laggards(databases: Databases, few: int, many: int, missed: int) -> dict[str, Any]:
    """Readers who come back at once, each at a place of its own, further back than a process keeps in memory."""
    reads = {str(readers): await reads_of(databases, readers, missed) for readers in (few, many)}
    return {"missed": missed, "reads": reads}


async def reads_of(databases: Databases, readers: int, missed: int) -> int:
    with running("sqlite", databases, REPLAY_BYTES="1000") as server:
        watcher = Crowd(server.port)
        await watcher.connect(server.path(), 1)
        start = (await server.state())["cursor"]
        await server.publish(missed)
        await watcher.delivered(missed)
        now = await server.state()
        epoch, _, first = start.partition("-")
        places = [int(first) + random.randrange(missed - 100) for _ in range(readers)]
        crowd = Crowd(server.port, until=b"id: %s\n" % now["cursor"].encode())
        await crowd.connect(
            lambda number: f"{server.path()}&lastEventId={epoch}-{places[number]}", readers, each=readers
        )
        reads: int = (await server.state())["reads"] - now["reads"]
        await crowd.close()
        await watcher.close()
    return reads
