"""The short run of the tests: each behaviour once, on one database and one server where the others add nothing.

``pytest --matrix`` runs all of them, as ``make test-all`` and CI do.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from . import processes

__all__ = ["once_each"]

# The first one that a test has is chosen. MariaDB and PostgreSQL have their own tests as well.
DATABASES = ["sqlite", "memory", "postgresql", "mariadb"]
SERVERS = ["uvicorn-httptools", *processes.ASGI_SERVERS]

# Files and tests whose subject is time, or a crowd, or another implementation of the same: minutes for each.
SLOW = (
    "tests/browser/test_browsers.py",
    "tests/browser/test_other_clients.py",
    "tests/browser/test_renewal.py::test_two_minutes_with_urls_of_five_seconds",
    "tests/browser/test_tabs.py",
    "tests/browser/test_typed.py",
    "tests/brokers/test_crowded.py",
    "tests/brokers/test_large_log.py",
    "tests/brokers/test_statements.py",
    "tests/faults/test_hostile.py",
    "tests/faults/test_notifications.py",
    "tests/faults/test_outages.py",
    "tests/faults/test_slow_readers.py",
    "tests/faults/test_sqlite.py::test_subscribers_lock_out_no_writer",
    "tests/faults/test_writers.py",
    "tests/notifications/test_send.py::test_a_crowd_of_ten_thousand",
    "tests/notifications/test_send.py::test_long_texts_to_a_crowd",
    "tests/property/test_channels.py",
    "tests/servers/test_ai_clients.py",
    "tests/servers/test_restart.py",
    "tests/servers/test_shortcuts.py",
    "tests/servers/test_unread.py",
    "tests/test_benchmarks.py::test_scenarios_run",
    "tests/test_scripts.py::test_without_pip_and_uv_an_environment_is_made_for_real",
    "tests/test_suites.py",
)


def once_each(items: Sequence[Any]) -> set[Any]:
    """Return the items of the short run."""
    variants: dict[Any, list[Any]] = {}
    for item in items:
        if not item.nodeid.startswith(SLOW):
            variants.setdefault(_behaviour(item), []).append(item)
    return {min(each, key=_rank) for each in variants.values()}


def _behaviour(item: Any) -> Any:
    """Return what two variants of a test have in common: all parameters but the database and the server."""
    return item.nodeid.partition("[")[0], tuple(
        (name, repr(value)) for name, value in sorted(_parameters(item)) if not _is_platform(value)
    )


def _rank(item: Any) -> list[int]:
    return sorted(_place(value) for _, value in _parameters(item) if _is_platform(value))


def _parameters(item: Any) -> Iterable[tuple[str, Any]]:
    return item.callspec.params.items() if hasattr(item, "callspec") else ()


def _is_platform(value: Any) -> bool:
    return isinstance(value, str) and (value in DATABASES or value in SERVERS)


def _place(value: str) -> int:
    return DATABASES.index(value) if value in DATABASES else SERVERS.index(value)
