"""Fan-out: many connections to one channel. What one delivery costs the server, and when it arrives."""

import contextlib
import statistics
import time
from collections.abc import Sequence
from typing import Any

from .contenders import Databases, Running, starting
from .load import Crowd

__all__ = ["measure"]

QUICK = ["floor", "nchan", "memory", "sqlite", "postgresql", "django", "starlette", "eventstream"]
FULL = [*QUICK, "bare", "decorated", "handed off"]
SERVERS = ["h11", "hypercorn", "django on hypercorn", "granian", "django on granian", "daphne", "django on daphne"]

# Events of a round, and the seconds from one to the next.
SCENARIOS = {"paced": (20, 0.05), "burst": (50, 0.0)}


class _Side:
    def __init__(self, server: Running, crowd: Crowd) -> None:
        self.server = server
        self.crowd = crowd
        self.cpu_us: list[float] = []
        self.latencies: list[float] = []
        self.rates: list[float] = []

    async def round(self, events: int, interval: float) -> None:
        cpu, began = self.server.cpu_seconds(), time.monotonic()
        await self.server.publish(events, interval)
        found = await self.crowd.delivered(events * self.crowd.opened)
        self.rates.append(len(found) / (time.monotonic() - began))
        self.cpu_us.append((self.server.cpu_seconds() - cpu) / len(found) * 1e6)
        self.latencies += found

    def row(self) -> dict[str, Any]:
        percentiles = statistics.quantiles(self.latencies, n=100)
        return {
            "cpu_us": statistics.median(self.cpu_us),
            "cpu_us_by_round": self.cpu_us,
            "p50_ms": percentiles[49] * 1e3,
            "p99_ms": percentiles[98] * 1e3,
            "deliveries_per_second": statistics.median(self.rates),
        }

    def forget(self) -> None:
        self.cpu_us, self.latencies, self.rates = [], [], []


async def measure(databases: Databases, *, quick: bool, names: Sequence[str] = ()) -> dict[str, Any]:
    """Take turns, each of about a second: what else the machine does then hits every contender alike."""
    connections, rounds = (120, 2) if quick else (1000, 8)
    sides: list[_Side] = []
    results: dict[str, Any] = {"connections": connections, "rounds": rounds}
    with contextlib.ExitStack() as stack:
        chosen = names or (QUICK if quick else FULL)
        for server in [stack.enter_context(starting(name, databases)) for name in chosen]:
            server.wait_ready()
            crowd = Crowd(server.port)
            await crowd.connect(server.path(), connections)
            sides.append(_Side(server, crowd))
        for scenario, (events, interval) in SCENARIOS.items():
            for each in sides:  # warm
                await each.round(5, 0.05)
                each.forget()
            if quick:
                events //= 2
            for number in range(rounds):
                for each in sides[number % len(sides) :] + sides[: number % len(sides)]:
                    await each.round(events, interval)
            results[scenario] = {each.server.name: each.row() for each in sides}
            for each in sides:
                each.forget()
        for each in sides:
            await each.crowd.close()
    return results
