"""``make bench`` and ``make bench-quick``: all scenarios, one after another, and the report of them.

Within a scenario the contenders take turns in one run, so that what else the machine does hits all alike; read the
ratios, not the figures. ``--only`` runs some scenarios and keeps the others' results of the run before.
"""

import argparse
import contextlib
import json
import os
import platform
import time
from collections.abc import Awaitable, Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import uvloop

from . import fanout, idle, log, memory, opening, publish, report, slow, storm, unicast
from .contenders import Databases

FOLDER = Path(__file__).parent / "results"


async def servers(databases: Databases, *, quick: bool) -> dict[str, Any]:
    return await fanout.measure(databases, quick=quick, names=fanout.SERVERS)


SCENARIOS: dict[str, Callable[..., Awaitable[dict[str, Any]]]] = {
    "fanout": fanout.measure,
    "servers": servers,
    "memory": memory.measure,
    "idle": idle.measure,
    "unicast": unicast.measure,
    "storm": storm.measure,
    "slow": slow.measure,
    "opening": opening.measure,
}
# These start processes of their own, and have figures of their own kind.
OTHERS: dict[str, Callable[[], dict[str, Any]]] = {"publish": publish.measure, "log": log.measure}

PACKAGES = [
    *["django", "asgiref", "uvicorn", "uvloop", "httptools", "granian", "hypercorn", "daphne"],
    *["django-eventstream", "sse-starlette", "starlette"],
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small numbers, few contenders")
    parser.add_argument("--only", nargs="+", choices=[*SCENARIOS, *OTHERS], help="these scenarios alone")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the results are written")
    options = parser.parse_args()
    path = options.folder / ("quick.json" if options.quick else "full.json")
    results = json.loads(path.read_text()) if options.only and path.exists() else {}
    chosen = options.only or [*SCENARIOS, *(() if options.quick else OTHERS)]
    if options.quick and not options.only:
        chosen.remove("servers")
    results["machine"] = machine()
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        databases = Databases(stack)
        for name in chosen:
            began = time.monotonic()
            if name in OTHERS:
                results[name] = OTHERS[name]()
            else:
                results[name] = uvloop.run(SCENARIOS[name](databases, quick=options.quick))
            results[name]["took_seconds"] = round(time.monotonic() - began)
            print(report.section(name, results[name]), flush=True)
            path.write_text(json.dumps(results, indent=1) + "\n")
    print(f"Written to {path}. To put it into the documentation: python -m benchmarks.report")


def machine() -> dict[str, Any]:
    return {
        "python": platform.python_version(),
        "kernel": platform.release().partition("-")[0],
        "cores": os.cpu_count(),
        "versions": {name: version(name) for name in PACKAGES},
    }


if __name__ == "__main__":
    main()
