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

from .load import Load, free_port, wait_for_port

CONTENDERS = {
    "serversent, @event_stream": ("serversent-decorated", "/decorated/"),
    "serversent, StreamingHttpResponse": ("serversent-plain", "/plain/"),
    "plain Django, StreamingHttpResponse": ("django", "/plain/"),
    "django-eventstream": ("django-eventstream", "/eventstream/"),
}
CLOCK_TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / CLOCK_TICKS


def pss_bytes(pid: int) -> int:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("no Pss in smaps_rollup")


async def measure(contender: str, path: str, *, connections: int, events: int, interval: float) -> dict[str, float]:
    port = free_port()
    server = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "uvicorn",
            "--port",
            str(port),
            "--log-level",
            "warning",
            "benchmarks.server:application",
        ],
        env={**os.environ, "CONTENDER": contender},
    )
    try:
        await wait_for_port(port)
        load = Load(port, path)
        await load.connect(10)  # what is loaded by the first requests belongs to no connection
        await load.publish(1, 0)
        await load.delivered(10)
        await load.close()
        await load.ask("/collect/")
        before = pss_bytes(server.pid)
        load = Load(port, path)
        await load.connect(connections)
        await load.publish(10, interval)  # warm
        await load.delivered(connections * 10)
        await load.ask("/collect/")
        memory = (pss_bytes(server.pid) - before) / connections
        load.latencies.clear()
        cpu = cpu_seconds(server.pid)
        await load.publish(events, interval)
        await load.delivered(connections * events)
        cpu = cpu_seconds(server.pid) - cpu
        latencies = sorted(load.latencies)
        await load.close()
    finally:
        server.kill()
        server.wait()
    return {
        "cpu_us_per_delivery": cpu / (connections * events) * 1e6,
        "p50_ms": statistics.quantiles(latencies, n=100)[49] * 1e3,
        "p99_ms": statistics.quantiles(latencies, n=100)[98] * 1e3,
        "memory_kb_per_connection": memory / 1000,
        "deliveries": len(latencies),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--connections", type=int, default=1000)
    parser.add_argument("--events", type=int, default=100)
    parser.add_argument("--interval", type=float, default=0.1, help="seconds from one event to the next")
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results/latest.json"))
    options = parser.parse_args()
    results = {}
    print(f"{options.connections} connections, {options.events} events, one each {options.interval} s; uvicorn\n")
    print(f"{'':36} {'CPU/delivery':>14} {'p50':>9} {'p99':>9} {'PSS/connection':>16}")
    for name, (contender, path) in CONTENDERS.items():
        row = asyncio.run(
            measure(
                contender,
                path,
                connections=options.connections,
                events=options.events,
                interval=options.interval,
            )
        )
        results[name] = row
        print(
            f"{name:36} {row['cpu_us_per_delivery']:11.1f} us {row['p50_ms']:6.1f} ms {row['p99_ms']:6.1f} ms"
            f" {row['memory_kb_per_connection']:13.1f} kB"
        )
    plain = results["plain Django, StreamingHttpResponse"]
    print()
    for name, row in results.items():
        row["cpu_ratio"] = row["cpu_us_per_delivery"] / plain["cpu_us_per_delivery"]
        row["memory_ratio"] = row["memory_kb_per_connection"] / plain["memory_kb_per_connection"]
        print(f"{name:36} CPU {row['cpu_ratio']:.2f}, memory {row['memory_ratio']:.2f} of plain Django")
    packages = ("django", "asgiref", "uvicorn", "uvloop", "httptools", "django-eventstream")
    report = {
        "python": platform.python_version(),
        "versions": {name: version(name) for name in packages},
        "options": {"connections": options.connections, "events": options.events, "interval": options.interval},
        "results": results,
    }
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(report, indent=2) + "\n")
    print(f"\nwritten to {options.json}")


if __name__ == "__main__":
    main()
