"""SQLite: one writer at a time, so that an event gets its offset when it is inserted."""

from typing import Any

from django.core.checks import CheckMessage, Warning
from django.db.backends.base.base import BaseDatabaseWrapper

from ..sql import sql
from .base import Dialect

__all__ = ["SQLite"]

# How long a transaction may have been open, of which SQLite has one at a time that writes: longer than others wait.
TRANSACTION_SECONDS = 5.0

# One writer at a time: an event that is inserted into the outbox by SQL gets its offset within the same transaction.
_TRIGGER = """
CREATE TRIGGER IF NOT EXISTS serversent_outbox_number AFTER INSERT ON serversent_outbox BEGIN
    INSERT INTO serversent_event (channel, event, data, size)
    VALUES (NEW.channel, NEW.event, NEW.data, LENGTH(CAST(NEW.data AS BLOB)));
    DELETE FROM serversent_outbox WHERE id = NEW.id;
END
"""


class SQLite(Dialect):
    clock = "STRFTIME('%%Y-%%m-%%d %%H:%%M:%%f', 'now')"
    ago = "STRFTIME('%%Y-%%m-%%d %%H:%%M:%%f', 'now', (-(%s)) || ' seconds')"
    read_clock = "SELECT julianday('now')"
    # Found from the end, where it is near.
    newest_before = (
        "SELECT MAX(id) FROM "
        "(SELECT id FROM serversent_event WHERE julianday(logged_at) <= %s ORDER BY id DESC LIMIT 1) AS n"
    )
    insert_ignore = ("INSERT OR IGNORE", "")
    raise_floor = (
        "ON CONFLICT (channel) DO UPDATE SET pruned_at = EXCLUDED.pruned_at, "
        "floor = MAX(serversent_channel.floor, EXCLUDED.floor)"
    )
    index_hint = "INDEXED BY serversent_event_channel"
    # As they are stored: plain SQL can store anything, and one text that is not UTF-8 would fail the whole read.
    event_columns = "e.id, CAST(e.channel AS BLOB), CAST(e.event AS BLOB), CAST(e.data AS BLOB)"
    begin = "BEGIN IMMEDIATE"  # a transaction that begins to write later fails if another has written meanwhile
    wakeup = "version"
    assigns_at_once = True
    uninstall = ("DROP TRIGGER serversent_outbox_number",)

    def is_in_memory(self, connection: BaseDatabaseWrapper) -> bool:
        return bool(connection.is_in_memory_db())  # type: ignore[attr-defined]

    def is_in_transaction(self, connection: BaseDatabaseWrapper) -> bool:
        return bool(connection.connection.in_transaction)

    def time_before(self, now: Any, seconds: float) -> Any:
        # An event has the time of its INSERT, and its transaction may have been open for a while after that.
        return now - (seconds + TRANSACTION_SECONDS) / 86_400

    def first_of_each_channel(self, names: list[str], condition: str) -> tuple[str, list[Any]]:
        each = f"SELECT id, size, channel FROM serversent_event {self.index_hint} WHERE channel = %s {condition}"
        return " UNION ALL ".join([f"SELECT * FROM ({each})"] * len(names)), list(names)  # no parentheses without FROM

    def install(self, connection: BaseDatabaseWrapper) -> None:
        sql(connection, _TRIGGER)

    def is_installed(self, connection: BaseDatabaseWrapper) -> bool:
        return bool(sql(connection, "SELECT 1 FROM sqlite_master WHERE name = 'serversent_outbox_number'"))

    def close(self, connection: BaseDatabaseWrapper) -> None:
        # Django's own leaves a database in memory open, for the sake of its tables.
        BaseDatabaseWrapper.close(connection)

    def check_deployment(self, alias: str, connection: BaseDatabaseWrapper) -> list[CheckMessage]:
        options = connection.settings_dict["OPTIONS"]
        if options.get("transaction_mode") == "IMMEDIATE" and "journal_mode" in str(options.get("init_command", "")):
            return []
        return [
            Warning(
                f"The broker {alias!r} uses SQLite with the settings of a new project.",
                hint='For production: "OPTIONS": {"transaction_mode": "IMMEDIATE", "timeout": 20, "init_command": '
                '"PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL"}.',
                id="serversent.W003",
            )
        ]
