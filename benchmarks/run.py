"""``make bench``: what one delivered event and one open connection cost, side by side in one run, on uvicorn.

CPU is utime + stime of the server's process during the deliveries, so that the load generator does not count.
Memory is the growth of the server's PSS from no connection to all of them, divided by their number.
"""

import argparse
import asyncio
import json
import os
import platform
import statistics
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

from .load import Load, free_port, wait_for_port

CONTENDERS = {
    "serversent, @channel_stream": ("serversent-channel", "/channel/"),
    "serversent, @event_stream": ("serversent-decorated", "/decorated/"),
    "serversent, StreamingHttpResponse": ("serversent-plain", "/plain/"),
    "plain Django, StreamingHttpResponse": ("django", "/plain/"),
    "django-eventstream": ("django-eventstream", "/eventstream/"),
    "a bare loop over transports": ("floor", "/stream/"),
}

# Events of a round, and the seconds from one to the next.
SCENARIOS = {"paced": (10, 0.1), "back to back": (50, 0.0)}
CLOCK_TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / CLOCK_TICKS


def pss_bytes(pid: int) -> int:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("no Pss in smaps_rollup")


class Contender:
    """One server process with its open connections, and what was measured of it."""

    def __init__(self, name: str, contender: str, path: str) -> None:
        self.name = name
        port = free_port()
        command = [sys.executable, "-m", "uvicorn", "--port", str(port), "--log-level", "warning"]
        module = "floor" if contender == "floor" else "server"
        self._server = subprocess.Popen(
            [*command, f"benchmarks.{module}:application"], env={**os.environ, "CONTENDER": contender}
        )
        self._port = port
        self._load = Load(port, path)
        # By scenario: CPU per delivery, one figure for each round (the clock has ticks of 10 ms); seconds to arrival.
        self.cpu_us: dict[str, list[float]] = {name: [] for name in SCENARIOS}
        self.latencies: dict[str, list[float]] = {name: [] for name in SCENARIOS}
        self.memory_bytes = 0.0

    async def connect(self, connections: int) -> None:
        await wait_for_port(self._port)
        await self._load.connect(10)  # what is loaded by the first requests belongs to no connection
        await self._load.publish(1, 0)
        await self._load.delivered(10)
        await self._load.close()
        await self._load.ask("/collect/")
        before = pss_bytes(self._server.pid)
        self._load = Load(self._port, self._load.path.decode())
        await self._load.connect(connections)
        await self._deliver(10, 0.1)  # warm
        await self._load.ask("/collect/")
        self.memory_bytes = (pss_bytes(self._server.pid) - before) / connections

    async def round(self, scenario: str) -> None:
        cpu = cpu_seconds(self._server.pid)
        latencies = await self._deliver(*SCENARIOS[scenario])
        cpu = cpu_seconds(self._server.pid) - cpu
        self.cpu_us[scenario].append(cpu / len(latencies) * 1e6)
        self.latencies[scenario] += latencies

    async def _deliver(self, events: int, interval: float) -> list[float]:
        self._load.latencies.clear()
        await self._load.publish(events, interval)
        await self._load.delivered(self._load.opened * events)
        return list(self._load.latencies)

    def stop(self) -> None:
        self._server.kill()
        self._server.wait()

    def row(self) -> dict[str, Any]:
        row: dict[str, Any] = {"memory_kb_per_connection": self.memory_bytes / 1000}
        for name in SCENARIOS:
            percentiles = statistics.quantiles(self.latencies[name], n=100)
            row[name] = {
                "cpu_us_per_delivery": statistics.fmean(self.cpu_us[name]),
                "cpu_us_per_delivery_by_round": self.cpu_us[name],
                "p50_ms": percentiles[49] * 1e3,
                "p99_ms": percentiles[98] * 1e3,
                "deliveries": len(self.latencies[name]),
            }
        return row


async def measure(options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Take turns, each second another's: what else the machine does then hits every contender alike."""
    contenders: list[Contender] = []
    try:
        for name, (contender, path) in CONTENDERS.items():
            contenders.append(Contender(name, contender, path))
            await contenders[-1].connect(options.connections)
        for scenario in SCENARIOS:
            for number in range(options.rounds):
                for each in contenders[number % len(contenders) :] + contenders[: number % len(contenders)]:
                    await each.round(scenario)
    finally:
        for each in contenders:
            each.stop()
    return {each.name: each.row() for each in contenders}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--connections", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=16)
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results/latest.json"))
    options = parser.parse_args()
    results = asyncio.run(measure(options))
    plain = results["plain Django, StreamingHttpResponse"]
    for scenario, (events, interval) in SCENARIOS.items():
        print(
            f"{scenario}: {options.connections} connections, {options.rounds} rounds of {events} events, one each "
            f"{interval} s, uvicorn; CPU is the mean of the rounds"
        )
        print(f"{'':36} {'CPU/delivery':>14} {'ratio':>6} {'p50':>10} {'p99':>10}")
        for name, row in results.items():
            found = row[scenario]
            found["cpu_ratio"] = found["cpu_us_per_delivery"] / plain[scenario]["cpu_us_per_delivery"]
            print(
                f"{name:36} {found['cpu_us_per_delivery']:11.1f} us {found['cpu_ratio']:6.2f} "
                f"{found['p50_ms']:7.1f} ms {found['p99_ms']:7.1f} ms"
            )
        print()
    print(f"{'':36} {'PSS/connection':>15} {'ratio':>6}")
    for name, row in results.items():
        row["memory_ratio"] = row["memory_kb_per_connection"] / plain["memory_kb_per_connection"]
        print(f"{name:36} {row['memory_kb_per_connection']:12.1f} kB {row['memory_ratio']:6.2f}")
    packages = ("django", "asgiref", "uvicorn", "uvloop", "httptools", "django-eventstream")
    report = {
        "python": platform.python_version(),
        "versions": {name: version(name) for name in packages},
        "options": {name: value for name, value in vars(options).items() if name != "json"},
        "results": results,
    }
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(report, indent=2) + "\n")
    print(f"\nWritten to {options.json}")


if __name__ == "__main__":
    main()
