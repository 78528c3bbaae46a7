"""The database broker: an append-only log in the project's own database. Nothing else has to run.

On PostgreSQL and MariaDB an event is inserted into the outbox, in the caller's transaction and without a lock, and gets
its offset after the commit (``numbering``). On SQLite, which has one writer at a time, it gets its offset at once.
"""

import asyncio
import contextlib
import functools
import logging
import sys
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Concatenate, ParamSpec, TypeVar

from django.core.checks import CheckMessage, Error, Warning
from django.core.exceptions import ImproperlyConfigured
from django.db import DEFAULT_DB_ALIAS, InternalError, OperationalError, ProgrammingError, connections, transaction
from django.db import Error as DatabaseError
from django.db.backends.base.base import BaseDatabaseWrapper

from ...concurrency.threads import shared_connections
from ...errors import BrokerUnavailable
from ...wire.cursor import Cursor
from ..base import Batch, Broker, OutgoingEvent
from ..dialects.base import OffsetsNotAssigned
from ..dialects.detect import dialect_of
from ..memory import MemoryBroker
from ..sql import sql
from ..transactions import after_commit, awaited_transaction, in_transaction
from . import log
from .numbering import assign_all_offsets, assign_offsets, can_assign_offsets, has_unassigned
from .pages import read_channels, read_latest
from .pruning import is_needed, prune
from .session import Session, close_own, own_connection
from .wakeup import Wakeup, make_wakeup, wake

__all__ = ["DatabaseBroker"]

logger = logging.getLogger("serversent")


P = ParamSpec("P")
T = TypeVar("T")

RETENTION_SECONDS = 86_400
PUBLISHER_PRUNE_SECONDS = 600
MAX_BACKOFF_SECONDS = 10.0
PRUNE_SECONDS = 5.0  # of a hub, each minute: its reads have a deadline
READERS = 2

# One INSERT: SQLite's parameters are bounded, and a server may refuse a statement of 16 MB.
ROWS_PER_INSERT = 300
BYTES_PER_INSERT = 4_000_000

_OPTIONS = {"database", "retention_seconds", "keep"}


class DatabaseBroker(Broker):
    """Options, all optional.

    ``database``: an alias of ``DATABASES``. ``retention_seconds``: how long events are kept, 86,400. ``keep``: how many
    of each channel at most.
    """

    durable = True
    needs_app = True

    def __init__(self, alias: str, options: Mapping[str, Any]) -> None:
        super().__init__(alias, options)
        if unknown := set(options) - _OPTIONS:
            raise ImproperlyConfigured(
                f"The broker {alias!r} has an unknown option {min(unknown)!r}. Known: {', '.join(sorted(_OPTIONS))}"
            )
        self.database: str = options.get("database", DEFAULT_DB_ALIAS)
        self._retention_seconds: float = options.get("retention_seconds", RETENTION_SECONDS)
        self._keep: int | None = options.get("keep")
        self._readers: asyncio.LifoQueue[Session] | None = None
        self._sessions: list[Session] = []
        self._prune_at = time.monotonic() + PUBLISHER_PRUNE_SECONDS

    @property
    def stand_in(self) -> Broker | None:
        """A test and its live server share the one connection to SQLite in memory. Any other would be locked out."""
        if self.database not in connections:
            return None
        connection = connections[self.database]
        if not dialect_of(connection).is_in_memory(connection):
            return None
        return self._in_memory if self.database in shared_connections() else None

    @functools.cached_property
    def _in_memory(self) -> Broker:
        options = {name: self.options[name] for name in ("retention_seconds", "keep") if self.options.get(name)}
        return MemoryBroker(self.alias, options)

    # Publishing: in the caller's thread, on the caller's connection.

    def append(self, events: Sequence[OutgoingEvent], *, on_commit: bool = True) -> None:
        if not on_commit:
            self._append_apart(events)
            return
        connection = connections[self.database]
        other = None if in_transaction(connection) else awaited_transaction(events)
        if other is None:
            self._append_with(connection, events)
        else:
            # The broker's database is in no transaction, so the event waits for the one of the other
            # database.
            after_commit(lambda: self._append_with(connections[self.database], events), using=other, broker=self.alias)

    def _append_with(self, connection: BaseDatabaseWrapper, events: Sequence[OutgoingEvent]) -> None:
        dialect = dialect_of(connection)
        with self._errors(connection):
            if len(events) == 1 and dialect.sends_in_one_call and can_assign_offsets(connection):
                with self._stored(OffsetsNotAssigned):
                    dialect.send_in_one_call(connection, events[0])
                self._committed()
                return
            _insert(connection, events)
        if not (connection.in_atomic_block or connection.get_autocommit()):
            return  # a transaction that was begun by hand: Django does not report its commit; a hub finds the events
        # Once for each transaction. A flag would be wrong after the rollback of a savepoint.
        if not any(entry[1] == self._assign_committed for entry in connection.run_on_commit):
            transaction.on_commit(self._assign_committed, using=self.database, robust=True)

    def _append_apart(self, events: Sequence[OutgoingEvent]) -> None:
        connection = own_connection(self.database)
        has_one_writer = dialect_of(connection).assigns_at_once
        if has_one_writer and in_transaction(connections[self.database]):
            connection.settings_dict["OPTIONS"]["timeout"] = 0.1  # it may be the caller who holds the lock
        try:
            with self._errors():
                _insert(connection, events)
            with self._stored():
                assign_offsets(connection)
        except BrokerUnavailable as error:
            if has_one_writer and "locked" in str(error.__cause__):
                error.add_note(
                    "SQLite has one writer: within a transaction that has written, on_commit=False cannot be"
                )
            raise
        finally:
            close_own(connection)
        wake(self.database)

    def _assign_committed(self) -> None:
        connection = connections[self.database]
        with self._stored():
            if can_assign_offsets(connection):
                assign_offsets(connection)
        self._committed()

    @contextmanager
    def _stored(self, errors: type[DatabaseError] = DatabaseError) -> Iterator[None]:
        """Log errors after the commit: the events are stored, and their sender must not take them for lost."""
        try:
            yield
        except errors as error:
            logger.warning("Sent events are stored; their delivery is left to the next who sends or listens: %s", error)

    def _committed(self) -> None:
        wake(self.database)
        if time.monotonic() > self._prune_at:  # where nobody listens, no hub does it
            self._prune_at = time.monotonic() + PUBLISHER_PRUNE_SECONDS
            try:
                with self._own_connection() as connection:
                    prune(connection, self._retention_seconds, self._keep, max_batches=1)
            except BrokerUnavailable as error:
                logger.warning("%s", error)

    @contextmanager
    def _errors(self, connection: BaseDatabaseWrapper | None = None) -> Iterator[None]:
        """Raise ``BrokerUnavailable`` for errors of the database.

        ``connection``: the caller's, if it is used. An error within the caller's transaction is the transaction's: it
        comes through as Django's, for those who try a transaction again after a deadlock.
        """
        try:
            yield
        except DatabaseError as error:
            missing = self._missing_tables(error)
            if connection is not None and in_transaction(connection) and not missing:
                raise
            raise BrokerUnavailable(self.alias, missing or f"database {self.database!r}: {error}") from error

    def _missing_tables(self, error: Exception) -> str:
        text = str(error)
        if "serversent_" in text and any(
            words in text for words in ("no such table", "does not exist", "doesn't exist")
        ):
            database = "" if self.database == DEFAULT_DB_ALIAS else f" --database {self.database}"
            return f'its tables are missing: put "serversent" into INSTALLED_APPS and run manage.py migrate{database}'
        return ""

    # Reading: on connections of our own.

    async def head(self) -> Cursor:
        return await self._read(_head_with_all_assigned)

    async def read(self, channels: Collection[str], after: int | None, end: int) -> Batch:
        return await self._read(read_channels, channels, after, end)

    async def latest(self, channels: Collection[str], end: int) -> Batch:
        return await self._read(read_latest, channels, end)

    async def recent(self, end: int, size: int) -> Batch:
        return await self._read(log.read_recent, end, size)

    async def closed(self, channels: Collection[str], end: int) -> set[str]:
        return await self._read(log.closed_channels, channels, end)

    async def _read(self, fn: Callable[Concatenate[BaseDatabaseWrapper, P], T], /, *args: P.args, **kw: P.kwargs) -> T:
        if self._readers is None:
            self._readers = asyncio.LifoQueue()
            for _ in range(READERS):
                self._readers.put_nowait(self._session())
        readers = self._readers  # they may be closed, and others opened, before this one is through
        session = await readers.get()
        try:
            with self._errors():
                return await session.run(fn, *args, **kw)
        finally:
            readers.put_nowait(session)

    def _session(self) -> Session:
        session = Session(self.database)
        self._sessions.append(session)
        return session

    async def tail(self, after: Cursor) -> AsyncIterator[Batch]:
        session, wakeup, backoff = self._session(), make_wakeup(self.database), 0.0
        try:
            while True:
                try:
                    piece = await session.run(_next, wakeup, after)
                except DatabaseError as error:
                    backoff = min(MAX_BACKOFF_SECONDS, backoff * 2 or 0.1)
                    logger.warning("The log of %r cannot be read, again in %.1f s: %s", self.alias, backoff, error)
                    await asyncio.sleep(backoff)
                    continue
                if backoff:
                    logger.warning("The log of %r can be read again", self.alias)
                    backoff = 0.0
                if piece.cursor != after:
                    after = piece.cursor
                    yield piece
        finally:
            wakeup.event.set()
            session.close()

    async def maintain(self) -> None:
        await self._read(_prune_if_needed, self._retention_seconds, self._keep)

    def prune(self, older_than: float | None = None, keep: int | None = None) -> int:
        seconds = self._retention_seconds if older_than is None else older_than
        with self._own_connection() as connection:
            assign_offsets(connection)
            return prune(connection, seconds, self._keep if keep is None else keep)

    def new_epoch(self) -> str:
        with self._own_connection() as connection:
            log.rotate_epoch(connection)
            epoch = log.head(connection).epoch
        wake(self.database)
        return epoch

    def cursor(self) -> Cursor:
        connection = connections[self.database]
        with self._errors(connection):
            return log.head(connection)

    def cursor_before(self, at: float, committed: Mapping[str, int]) -> Cursor:
        connection = connections[self.database]
        with self._errors(connection):
            return log.cursor_before(connection, at, committed.get(self.database))

    def stats(self) -> dict[str, Any]:
        with self._own_connection() as connection:
            return log.stats(connection)

    def check(self) -> list[CheckMessage]:
        if self.database not in connections:
            return [
                Error(
                    f"The broker {self.alias!r} uses the database {self.database!r}, which DATABASES does not have.",
                    hint=f"There are: {', '.join(sorted(connections))}.",
                    id="serversent.E005",
                )
            ]
        connection = connections[self.database]
        return dialect_of(connection).check(self.alias, connection)

    def check_databases(self, databases: Collection[str]) -> list[CheckMessage]:
        if self.database not in databases or self.database not in connections:
            return []
        connection = connections[self.database]
        if not dialect_of(connection).is_supported(connection):
            return [
                Error(
                    f"The broker {self.alias!r} uses the database {self.database!r}, which is MySQL.",
                    hint="Of the two, MariaDB can give sent events their offsets. Name a database on MariaDB, "
                    "PostgreSQL or SQLite in OPTIONS: a SQLite file beside MySQL will do on one host.",
                    id="serversent.E007",
                )
            ]
        if _is_migrating() or "serversent_event" in connection.introspection.table_names():
            return []
        return [  # no error: that would keep every command that migrates from making them
            Warning(
                f"The tables of the broker {self.alias!r} are not in the database {self.database!r}.",
                hint=f"Run manage.py migrate --database {self.database}.",
                id="serversent.W004",
            )
        ]

    def check_deployment(self) -> list[CheckMessage]:
        if self.database not in connections:
            return []
        connection = connections[self.database]
        return dialect_of(connection).check_deployment(self.alias, connection)

    @contextmanager
    def _own_connection(self) -> Iterator[BaseDatabaseWrapper]:
        connection = own_connection(self.database)
        try:
            with self._errors():
                yield connection
        finally:
            close_own(connection)

    async def aclose(self) -> None:
        self.abandon()

    def abandon(self) -> None:
        sessions, self._sessions, self._readers = self._sessions, [], None
        for session in sessions:
            session.close()


def _is_migrating() -> bool:
    """Return whether this is ``manage.py migrate``, which is about to create the tables."""
    return "migrate" in sys.argv[1:2]


def _insert(connection: BaseDatabaseWrapper, events: Sequence[OutgoingEvent]) -> None:
    """Store events, in their order: on SQLite in the log, where they get their offsets, elsewhere in the outbox."""
    into, columns = "serversent_outbox", "channel, event, data"
    rows: list[tuple[Any, ...]] = list(events)
    if dialect_of(connection).assigns_at_once:
        into, columns = "serversent_event", "channel, event, data, size"
        rows = [(*event, len(event.data.encode())) for event in events]
    batches = list(_batches(rows))
    with contextlib.ExitStack() as stack:
        if len(batches) > 1:
            stack.enter_context(transaction.atomic(using=connection.alias))
        for batch in batches:
            marks = ", ".join(["(" + ", ".join(["%s"] * len(batch[0])) + ")"] * len(batch))
            statement = f"INSERT INTO {into} ({columns}) VALUES {marks}"
            sql(connection, statement, [value for row in batch for value in row])


def _batches(rows: Sequence[tuple[Any, ...]]) -> Iterator[list[tuple[Any, ...]]]:
    """Yield the rows of one INSERT each."""
    batch: list[tuple[Any, ...]] = []
    size = 0
    for row in rows:
        row_bytes = len(row[2]) * 4  # at most, in UTF-8
        if batch and (len(batch) == ROWS_PER_INSERT or size + row_bytes > BYTES_PER_INSERT):
            yield batch
            batch, size = [], 0
        batch.append(row)
        size += row_bytes
    yield batch


# The functions below run in the threads of sessions.

# MariaDB's errors of a user who may not write, and of a server that takes no writes.
_READ_ONLY = [(1142,), (1290,)]


def _next(connection: BaseDatabaseWrapper, wakeup: Wakeup, after: Cursor) -> Batch:
    """Return the next events, or wait a while for them. A commit during the read ends the wait."""
    wakeup.prepare(connection)
    piece = log.read_all(connection, after)
    if piece.cursor == after:
        if not wakeup.wait(connection) and has_unassigned(connection):
            _assign(connection)
        piece = log.read_all(connection, after)
    return piece


def _head_with_all_assigned(connection: BaseDatabaseWrapper) -> Cursor:
    cursor = log.head(connection)  # makes the log's row, without which nobody gets the lock on MariaDB
    if has_unassigned(connection):
        _assign(connection, assign_all_offsets)
        cursor = log.head(connection)
    return cursor


def _assign(connection: BaseDatabaseWrapper, assign: Callable[[BaseDatabaseWrapper], None] = assign_offsets) -> None:
    """Assign the offsets that other processes have left. A reader without the right to write goes on reading."""
    try:
        assign(connection)
    except (InternalError, OperationalError, ProgrammingError) as error:
        is_known = isinstance(error, OffsetsNotAssigned) or error.args[:1] in _READ_ONLY
        if isinstance(error, OperationalError) and not is_known:
            raise
        logger.warning("Events in the outbox of %r cannot be numbered: %s", connection.alias, error)


def _prune_if_needed(connection: BaseDatabaseWrapper, seconds: float, keep: int | None) -> None:
    if is_needed(connection, seconds, keep):
        prune(connection, seconds, keep, max_seconds=PRUNE_SECONDS)
