"""What sending costs: 32 processes send to one channel on a private PostgreSQL with fsync on, side by side.

The floor is a plain INSERT of the same row, by the same publishers, in the same run. After that they go on for 200,000
events, with a pruning now and then: the rate and the size of the tables should stay as they are.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from typing import Any

from tests.processes import ROOT, PostgreSQL, postgresql

PUBLISHERS = 32
SECONDS = 4.0
ROUNDS = 5
ENDURED_EVENTS = 200_000
KEPT_EVENTS = 10_000
CYCLE_SECONDS = 16.0
WAYS = ("plain INSERT", "serversent", "django-eventstream")


def measure() -> dict[str, Any]:
    with postgresql() as server:
        environment = {**os.environ, "BENCH_DATABASE": json.dumps(server.settings)}
        run_django(environment, "from django.core.management import call_command as c; c('migrate', verbosity=0)")
        server.sql("create table plain (id bigserial primary key, channel varchar(200), event varchar(200), data text)")
        rates: dict[str, list[float]] = {way: [] for way in WAYS}
        for _ in range(ROUNDS):
            for way in WAYS:
                rates[way].append(rate_of(way, environment))
        numbered = int(server.sql("select count(*) from serversent_event"))
        left = int(server.sql("select count(*) from serversent_outbox"))
        cycles = endure(server, environment)
    return {
        "publishers": PUBLISHERS,
        "events_per_second": {way: statistics.median(found) for way, found in rates.items()},
        "rounds": rates,
        "numbered": numbered,
        "left_in_outbox": left,
        "kept": KEPT_EVENTS,
        "cycles": cycles,
    }


def endure(server: PostgreSQL, environment: dict[str, str]) -> list[dict[str, float]]:
    """Publish and prune in turns, and return how each turn went."""
    prune = f"from serversent.brokers import broker; broker().prune(86_400, {KEPT_EVENTS})"
    run_django(environment, prune)
    cycles: list[dict[str, float]] = []
    events = 0
    while events < ENDURED_EVENTS:
        rate = rate_of("serversent", environment, CYCLE_SECONDS)
        events += round(rate * CYCLE_SECONDS)
        moment = time.monotonic()
        run_django(environment, prune)
        seconds = time.monotonic() - moment
        log, outbox = (
            int(server.sql(f"select pg_total_relation_size('{table}')")) / 1e6
            for table in ("serversent_event", "serversent_outbox")
        )
        cycles.append({"events": events, "rate": rate, "log_mb": log, "outbox_mb": outbox, "prune_seconds": seconds})
    return cycles


def run_django(environment: dict[str, str], code: str) -> None:
    code = f"import benchmarks.publish as b; b.set_up()\n{code}"
    subprocess.run([sys.executable, "-c", code], check=True, env=environment, cwd=ROOT)


def rate_of(way: str, environment: dict[str, str], seconds: float = SECONDS) -> float:
    """Return events per second of all publishers together."""
    start = time.time() + 6  # every one is up by then
    command = [sys.executable, "-m", "benchmarks.publish", way, str(start), str(start + seconds)]
    processes = [
        subprocess.Popen(command, env=environment, cwd=ROOT, stdout=subprocess.PIPE) for _ in range(PUBLISHERS)
    ]
    return sum(int(process.communicate()[0]) for process in processes) / seconds


def set_up() -> None:
    import django
    from django.conf import settings

    settings.configure(
        SECRET_KEY="for the benchmark only",
        INSTALLED_APPS=["serversent", "django_eventstream"],
        DATABASES={"default": {**json.loads(os.environ["BENCH_DATABASE"]), "CONN_MAX_AGE": None}},
        EVENTSTREAM_STORAGE_CLASS="django_eventstream.storage.DjangoModelStorage",
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        LOGGING_CONFIG=None,
        USE_TZ=True,
    )
    django.setup()


def publish(way: str, start: float, end: float) -> None:
    set_up()
    from django.db import connection

    data: Any = "x" * 120
    connection.ensure_connection()
    if way == "plain INSERT":

        def send() -> None:
            with connection.cursor() as cursor:
                cursor.execute("INSERT INTO plain (channel, event, data) VALUES (%s, %s, %s)", ["c", "message", data])

    elif way == "serversent":
        from serversent import send_event

        def send() -> None:
            send_event("c", data)

    else:
        from django_eventstream import send_event as send_theirs

        def send() -> None:
            send_theirs("c", "message", data, json_encode=False)

    while time.time() < start:
        time.sleep(0.01)
    count = 0
    while time.time() < end:
        send()
        count += 1
    print(count)


if __name__ == "__main__":
    publish(sys.argv[1], float(sys.argv[2]), float(sys.argv[3]))
