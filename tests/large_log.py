"""A log of many rows, with rare and busy channels in it, and what one page of it costs to read."""

import statistics
import time
from collections.abc import Callable
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper

from serversent.brokers.database.pages import read_channels
from serversent.brokers.sql import sql

__all__ = ["SELECTIONS", "fill", "plan", "read_milliseconds"]

# One row of ten thousand is of one of a hundred rare channels, all others are of a hundred busy ones.
SELECTIONS = {
    "100 rare": [f"rare{number}" for number in range(100)],
    "100 busy": [f"busy{number}" for number in range(100)],
    "50 rare, 50 busy": [f"{kind}{number}" for kind in ("rare", "busy") for number in range(50)],
    "1 rare": ["rare1"],
    "1 busy": ["busy1"],
}
READS = 9

_NUMBERS = {
    "postgresql": "SELECT i FROM generate_series(1, {rows}) AS s(i)",
    "mysql": "SELECT seq AS i FROM seq_1_to_{rows}",
    "sqlite": "WITH RECURSIVE s(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM s WHERE i < {rows}) SELECT i FROM s",
}
_NAMES = {
    "postgresql": ("'rare' || ((i / 10000) % 100)", "'busy' || (i % 100)", "repeat('x', 120)"),
    "mysql": ("concat('rare', (i div 10000) % 100)", "concat('busy', i % 100)", "repeat('x', 120)"),
    "sqlite": ("'rare' || ((i / 10000) % 100)", "'busy' || (i % 100)", "printf('%0120d', 0)"),
}


def fill(connection: BaseDatabaseWrapper, rows: int) -> None:
    """Replace the log's events with so many, of offsets 1 to ``rows``."""
    sql(connection, "DELETE FROM serversent_event")
    rare, busy, data = _NAMES[connection.vendor]
    numbers = _NUMBERS[connection.vendor].format(rows=rows)
    # In the tables' own column order no name is given twice, so that every database takes it.
    statement = (
        "INSERT INTO serversent_event (id, channel, event, data, size) "
        f"SELECT i, CASE WHEN i % 10000 = 7 THEN {rare} ELSE {busy} END, 'message', {data}, 120 FROM ({numbers}) AS n"
    )
    sql(connection, statement)
    sql(connection, "ANALYZE TABLE serversent_event" if connection.vendor == "mysql" else "ANALYZE serversent_event")


def read_milliseconds(
    connection: BaseDatabaseWrapper, rows: int, chosen: Callable[[list[float]], float] = statistics.median
) -> dict[str, float]:
    """Return what a page costs, for each selection the slowest of three places: by default the median of some reads."""
    return {
        name: max(chosen(_reads(connection, channels, after, rows)) for after in (0, rows // 2, rows - rows // 1000))
        for name, channels in SELECTIONS.items()
    }


def _reads(connection: BaseDatabaseWrapper, channels: list[str], after: int, rows: int) -> list[float]:
    times = []
    for _ in range(READS):
        moment = time.perf_counter()
        page = read_channels(connection, channels, after, rows)
        times.append((time.perf_counter() - moment) * 1000)
    assert len(page.events) > 0 or after > 0
    return times


def plan(connection: BaseDatabaseWrapper, channels: list[str], after: int, rows: int) -> str:
    """Return how the database says that it reads a page."""
    explained: list[Any] = []
    prefix = {"postgresql": "EXPLAIN (ANALYZE, BUFFERS)", "mysql": "EXPLAIN", "sqlite": "EXPLAIN QUERY PLAN"}

    def explain(execute: Any, statement: str, parameters: Any, many: bool, context: Any) -> Any:
        with connection.cursor() as cursor:
            cursor.cursor.execute(f"{prefix[connection.vendor]} {statement}", parameters)
            explained.extend(cursor.fetchall())
        return execute(statement, parameters, many, context)

    with connection.execute_wrapper(explain):
        read_channels(connection, channels, after, rows)
    return "\n".join(" | ".join(str(value) for value in row) for row in explained)
