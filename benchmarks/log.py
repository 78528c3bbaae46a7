"""What the log costs in time: from ``send_event`` in one process to arrival over HTTP from another, a page of a log of
a million rows, and a send while somebody holds an old snapshot.
"""

import contextlib
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.conftest import migrate
from tests.processes import ROOT, mariadb, postgresql, serve

EVENTS = 200
PAGE_ROWS = 1_000_000
MOVED_ROWS = 120_000

PUBLISH = f"""
import django; django.setup()
import random, time
from serversent import send_event
for _ in range({EVENTS}):
    send_event("bench", str(time.monotonic_ns()))
    time.sleep(random.uniform(0.02, 0.06))
"""


@contextlib.contextmanager
def database(kind: str) -> Iterator[dict[str, Any]]:
    """Make a database of a kind, migrated, with its durability as it comes."""
    with contextlib.ExitStack() as stack:
        if kind == "postgresql":
            settings = stack.enter_context(postgresql()).settings
        elif kind == "mariadb":
            settings = stack.enter_context(mariadb())
        else:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="serversent-"))
            settings = {"ENGINE": "django.db.backends.sqlite3", "NAME": str(Path(folder) / "db.sqlite3")}
        migrate({"TEST_DATABASE": json.dumps(settings)})
        yield settings


def arrivals(settings: dict[str, Any]) -> list[float]:
    """Return milliseconds, one for each event, from before the call in one process to the socket of a client."""
    environment = {"DJANGO_SETTINGS_MODULE": "tests.project.settings", "TEST_DATABASE": json.dumps(settings)}
    found = []
    with (
        tempfile.TemporaryDirectory(prefix="serversent-") as folder,
        serve("uvicorn-httptools", Path(folder), environment=environment) as server,
        server.open("/channels/?channel=bench") as stream,
    ):
        stream.next()
        publisher = subprocess.Popen([sys.executable, "-c", PUBLISH], env={**os.environ, **environment}, cwd=ROOT)
        for _ in range(EVENTS):
            sent = int(stream.next().data)
            found.append((time.monotonic_ns() - sent) / 1e6)
        publisher.wait()
    return found


# What needs Django with the database at hand runs as a process of its own: settings are configured once.


def in_django(part: str, settings: dict[str, Any]) -> Any:
    environment = {"DJANGO_SETTINGS_MODULE": "tests.project.settings", "TEST_DATABASE": json.dumps(settings)}
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.log", part]
    done = subprocess.run(command, env={**os.environ, **environment}, cwd=ROOT, stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)


def pages() -> dict[str, Any]:
    """Return the milliseconds of a page for each selection of channels, and how the database finds the busy ones."""
    from django.db import connection

    from tests.large_log import SELECTIONS, fill, plan, read_milliseconds

    fill(connection, PAGE_ROWS)
    return {
        "milliseconds": read_milliseconds(connection, PAGE_ROWS),
        "plans": {
            name: plan(connection, SELECTIONS[name], PAGE_ROWS // 2, PAGE_ROWS) for name in ("100 rare", "100 busy")
        },
    }


def snapshot() -> dict[str, float]:
    """Return the milliseconds of a send on PostgreSQL: before, and while a snapshot is held over many moved rows."""
    from django.db import connection

    from serversent import send_event, send_events
    from serversent.brokers.database.session import own_connection
    from serversent.brokers.sql import sql

    def send_milliseconds() -> float:
        times = []
        for number in range(50):
            moment = time.perf_counter()
            send_event(f"c{random.randrange(50)}", number)
            times.append((time.perf_counter() - moment) * 1000)
        return statistics.median(times)

    before = send_milliseconds()
    holder = own_connection("default")
    sql(holder, "BEGIN ISOLATION LEVEL REPEATABLE READ")
    sql(holder, "SELECT COUNT(*) FROM serversent_outbox")
    for _ in range(MOVED_ROWS // 1000):
        send_events([(f"c{number % 50}", "x" * 120) for number in range(1000)])
    held = send_milliseconds()
    sql(holder, "ROLLBACK")
    holder.close()
    sql(connection, "VACUUM serversent_outbox")
    return {"before": before, "held": held, "after": send_milliseconds()}


def measure() -> dict[str, Any]:
    report: dict[str, Any] = {"rows": PAGE_ROWS, "moved_rows": MOVED_ROWS, "databases": {}}
    for kind in ("postgresql", "sqlite", "mariadb"):
        with database(kind) as settings:
            found = arrivals(settings)
            percentiles = statistics.quantiles(found, n=100)
            arrival = {"arrival_p50_ms": statistics.median(found), "arrival_p99_ms": percentiles[98]}
            report["databases"][kind] = arrival | in_django("pages", settings)
    with database("postgresql") as settings:
        report["snapshot"] = in_django("snapshot", settings)
    return report


if __name__ == "__main__":
    import django

    django.setup()
    print(json.dumps({"pages": pages, "snapshot": snapshot}[sys.argv[1]]()))
