"""Streams in tests: open one and take its events, and see the events that were sent. Each wait has a timeout."""

import asyncio
import concurrent.futures
import queue
import threading
import time
import urllib.parse
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

from asgiref.sync import AsyncToSync, ThreadSensitiveContext, sync_to_async
from django.conf import settings
from django.core.handlers.asgi import ASGIHandler as DjangoASGIHandler
from django.db import connections, transaction
from django.test import override_settings
from django.test.client import ClientMixin

from ..asgi import ASGIHandler
from ..brokers import OutgoingEvent, broker, memory
from ..brokers.base import override_broker
from ..brokers.channel_names import CONTROL
from ..brokers.dialects.detect import dialect_of
from ..brokers.transactions import open_transaction
from ..channels.hub import stop_hubs
from ..concurrency.tasks import test_executor
from ..concurrency.threads import wait_closed
from ..conf import broker_settings
from ..errors import BrokerUnavailable
from ..event import EventParser, ReceivedEvent
from ..wire.cursor import Cursor

__all__ = ["Stream", "captured_events", "open_stream"]

TIMEOUT_SECONDS = 5.0

T = TypeVar("T")


class _Handler(ASGIHandler):
    """The application, with sync code where the test has its database connection."""

    async def run_application(self, scope: Any, receive: Any, send: Any) -> None:
        await DjangoASGIHandler.handle(self, scope, receive, send)


class _Exchange:
    """The application's side of one response: what a server would do.

    ``executor``: runs sync code where the test has its database connection; ``None``: in threads, as in production.
    """

    def __init__(self, application: Any, scope: dict[str, Any], executor: Any) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = b""
        self.is_over = False  # the body has ended
        self.gone = asyncio.Event()  # the client has left
        self._application = application
        self._scope = scope
        self._executor = executor
        self._parser = EventParser()
        self._events: list[ReceivedEvent] = []
        self._changed = asyncio.Condition()
        self._requests = iter([{"type": "http.request", "body": b"", "more_body": False}])
        self._task = asyncio.ensure_future(self._run())
        self._task.add_done_callback(lambda _: asyncio.ensure_future(self._notify()))

    async def _run(self) -> None:
        if self._executor is None:
            await self._application(self._scope, self._receive, self._send)
            return
        test_executor.set(self._executor)
        async with ThreadSensitiveContext(executor=self._executor):
            await self._application(self._scope, self._receive, self._send)

    async def close(self) -> None:
        self.gone.set()
        _, running = await asyncio.wait({self._task}, timeout=TIMEOUT_SECONDS)
        for task in running:
            task.cancel()
        await stop_hubs()
        await _connections_closed()  # a test database with connections cannot be destroyed
        if not running and not self._task.cancelled() and (error := self._task.exception()):
            raise error

    async def _receive(self) -> dict[str, Any]:
        for message in self._requests:
            return message
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.headers = {name.decode().lower(): value.decode("latin-1") for name, value in message["headers"]}
            self.status = message["status"]
        else:
            self.body += message.get("body", b"")
            self._events += self._parser.feed(message.get("body", b""))
            self.is_over = not message.get("more_body", False)
        await self._notify()

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def until(self, condition: Callable[[], Any], timeout: float, problem: str) -> None:
        """Wait for a condition. Raises ``TimeoutError``, and ``EOFError`` if the stream ends before."""

        def is_over() -> bool:
            return bool(condition()) or self.is_over or self._task.done()

        try:
            async with asyncio.timeout(timeout), self._changed:
                await self._changed.wait_for(is_over)
        except TimeoutError:
            raise TimeoutError(f"{problem} within {timeout:g} s. {await self._situation()}") from None
        if not condition():
            raise EOFError(f"The stream ended: {problem}. {await self._situation()}")

    async def _situation(self) -> str:
        said = f"Status {self.status}, body so far: {self.body[-300:]!r}."
        if self._executor is None:
            return said
        if waiting := await asyncio.wrap_future(self._executor.submit(_waiting_for_commit)):
            said += (
                f" {waiting} callbacks wait for the commit of a transaction, which a TestCase never does: use "
                "TransactionTestCase, or self.captureOnCommitCallbacks(execute=True)."
            )
        return said

    async def take(self, count: int, timeout: float, problem: str) -> list[ReceivedEvent]:
        await self.until(lambda: len(self._events) >= count, timeout, problem)
        taken = self._events[:count]
        del self._events[:count]
        return taken


async def _first(events: Awaitable[Sequence[ReceivedEvent]]) -> ReceivedEvent:
    return (await events)[0]


class Stream:
    """One open response, made by ``open_stream``. Use it as ``async with`` in async tests, as ``with`` in others.

    ``status`` and ``headers`` are the response's; ``body`` has the bytes so far. Each wait has a ``timeout`` in seconds
    and raises ``TimeoutError`` with an explanation. In async tests ``next`` and ``take`` are awaited.
    """

    def __init__(self, application: Any, url: str, headers: Sequence[tuple[str, str]]) -> None:
        path, _, query = urllib.parse.urldefrag(url).url.partition("?")
        self._application = application
        self._scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
            "path": urllib.parse.unquote(path),
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in headers],
            "server": ("testserver", 80),
            "client": ("127.0.0.1", 0),
        }
        self._database = _TestDatabase()
        self._thread: _LoopThread | None = None  # of the event loop, in a sync test
        self._exchange: _Exchange | None = None

    @property
    def status(self) -> int:
        return self._exchange.status if self._exchange else 0

    @property
    def headers(self) -> dict[str, str]:
        return self._exchange.headers if self._exchange else {}

    @property
    def body(self) -> bytes:
        return self._exchange.body if self._exchange else b""

    def next(self, timeout: float = TIMEOUT_SECONDS) -> Any:
        """Return the next event, a ``ReceivedEvent`` with ``data``, ``event`` and ``id``."""
        return self._wait(_first(self._opened().take(1, timeout, "no event")))

    def take(self, count: int, timeout: float = TIMEOUT_SECONDS) -> Any:
        """Return the next ``count`` events."""
        return self._wait(self._opened().take(count, timeout, f"fewer than {count} events"))

    def _opened(self) -> "_Exchange":
        if self._exchange is None:
            raise RuntimeError("The stream is not open. Write: with open_stream(...) as stream:")
        return self._exchange

    def _wait(self, waiting: Coroutine[Any, Any, T]) -> Any:
        return waiting if self._thread is None else self._thread.run(waiting)

    async def _open(self, executor: Any) -> None:
        self._exchange = exchange = _Exchange(self._application, self._scope, executor)
        await exchange.until(lambda: exchange.status, TIMEOUT_SECONDS, "no response")

    # Async.

    async def __aenter__(self) -> "Stream":
        await sync_to_async(self._database.prepare)()
        try:
            await self._open(_async_executor())
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._opened().close()
        self._database.restore()
        if _async_executor() is None:  # pytest's: sync code ran in a thread whose connections nobody else would close
            await sync_to_async(_close_unused)()

    # Sync: the event loop has a thread, and this one runs the sync code of views, on the test's connections.

    def __enter__(self) -> "Stream":
        self._database.prepare()
        self._thread = _LoopThread()
        try:
            self._thread.run(self._open(self._thread))
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        assert self._thread is not None
        try:
            self._thread.run(self._opened().close())
        finally:
            self._thread.stop()
            self._database.restore()


def _async_executor() -> Any:
    """Return the thread in which Django's async tests run sync code, where their transaction is."""
    return getattr(AsyncToSync.executors, "current", None)


class _TestDatabase:
    """The log of a test. A ``TestCase`` never commits, so the memory broker replaces the database's there."""

    def __init__(self) -> None:
        self._settings: Any = None
        self._kept_open: list[Any] = []

    def prepare(self) -> None:
        self._kept_open = _keep_open()
        self._use_memory()

    def _use_memory(self) -> None:
        owner = _testcase_block() or _flushed_epoch()
        if owner is None:
            return
        replaced = [(alias, _cursor_of(alias)) for alias in broker_settings()] if _owners != [owner] else []
        if _owners != [owner]:  # each test has a log of its own
            _owners[:] = [owner]
            memory.clear()
        backend = {"BACKEND": "serversent.brokers.memory.MemoryBroker"}
        # The sessions of a TestCase are in its transaction, where no other connection sees them.
        configured = {
            **getattr(settings, "SERVERSENT", {}),
            "BROKERS": dict.fromkeys(broker_settings(), backend),
            "SESSION_CHECK_SECONDS": None,
        }
        self._settings = override_settings(SERVERSENT=configured)
        self._settings.enable()
        for alias, cursor in replaced:
            if cursor is not None:  # so that a cursor or a signed URL of a rendered page is one of this log
                memory.begin_at(alias, cursor)

    def restore(self) -> None:
        if self._settings is not None:
            self._settings.disable()
            self._settings = None
        kept, self._kept_open = self._kept_open, []
        _let_close(kept)


def open_stream(client_or_app: Any, url: str, *, headers: dict[str, str] | None = None, cursor: str = "") -> Stream:
    """Return the stream at ``url``, to be opened by ``async with`` or ``with``.

    ``client_or_app``: Django's test client, whose cookies are sent, or an ASGI application. ``cursor``: the id to
    resume after. In a ``TestCase``, whose transaction is never committed, and with SQLite in memory, events go through
    the memory broker.
    """
    sent = {"Host": "testserver", "Accept": "text/event-stream", **(headers or {})}
    if cursor:
        sent["Last-Event-ID"] = str(cursor)
    application = client_or_app
    if isinstance(client_or_app, ClientMixin):
        application = _Handler()
        jar: Any = client_or_app.cookies  # type: ignore[attr-defined]
        cookies = "; ".join(f"{name}={morsel.value}" for name, morsel in jar.items())
        if cookies:
            sent["Cookie"] = cookies
    return Stream(application, url, list(sent.items()))


@contextmanager
def captured_events(using: str = "default") -> Iterator[list[OutgoingEvent]]:
    """Collect the events that are sent in the block, instead of sending them: a list of ``(channel, event, data)``::

        with captured_events() as events:
            order.pay()
        assert events == [("order-1", "paid", "{}")]


    It needs no commit, and works in a ``TestCase``. Events that are rolled back within the block are not in the list.
    """
    events: list[OutgoingEvent] = []
    pending: list[_Pending] = []

    def append(all_sent: Sequence[OutgoingEvent], *, on_commit: bool = True) -> None:
        sent = [event for event in all_sent if event.channel not in CONTROL]  # a logout's is nobody's event
        alias = open_transaction() if on_commit else None
        if alias is None:
            events.extend(sent)
            return
        one = _Pending(events, sent)
        pending.append(one)
        transaction.on_commit(one, using=alias)

    with override_broker(using, append):
        yield events
        # The transactions of the block are over. Callbacks that are left would run at the commit of the test.
        kept = {id(entry[1]) for each in connections.all(initialized_only=True) for entry in each.run_on_commit}
        for one in pending:
            if id(one) in kept:
                one()


class _Pending:
    """Events of a transaction: captured once."""

    def __init__(self, events: list[OutgoingEvent], sent: Sequence[OutgoingEvent]) -> None:
        self._events = events
        self._sent = sent

    def __call__(self) -> None:
        sent, self._sent = self._sent, []
        self._events.extend(sent)


_owners: list[Any] = []


def _testcase_block() -> Any:
    """Return the transaction that a ``TestCase`` keeps around the running test, if it does."""
    for connection in connections.all(initialized_only=True):
        for block in reversed(connection.atomic_blocks):
            if getattr(block, "_from_testcase", False):
                return block
    return None


def _flushed_epoch() -> str | None:
    """Return the epoch of the log in a SQLite database in memory, whose readers lock its writers out.

    A ``TransactionTestCase`` flushes it, so that each test has another.
    """
    used = broker("default")
    if used.database is not None:
        connection = connections[used.database]
        if dialect_of(connection).is_in_memory(connection):
            # A test that may not use the database has no events in it either.
            with suppress(RuntimeError, AssertionError, BrokerUnavailable):
                return used.cursor().epoch
    return None


def _cursor_of(alias: str) -> Cursor | None:
    # A test that may not use the database has no pages of it either.
    with suppress(RuntimeError, AssertionError, BrokerUnavailable):
        return broker(alias).cursor()
    return None


# Django closes connections at the start and the end of each request, also those of a TestCase, whose transaction is
# lost then. Its test client takes that receiver off the signals meanwhile. That would count for all threads, and a
# stream takes long; so the connections of the test are kept from being closed.

_keepers: dict[Any, int] = {}


def _keep_open() -> list[Any]:
    """Let no request close the connections of this thread, the test's, until ``_let_close``."""
    kept = list(connections.all(initialized_only=True))
    for connection in kept:
        _keepers[connection] = _keepers.get(connection, 0) + 1
        connection.close_if_unusable_or_obsolete = _close_nothing  # type: ignore[method-assign]
    return kept


def _let_close(kept: list[Any]) -> None:
    for connection in kept:
        _keepers[connection] -= 1
        if not _keepers[connection]:
            del _keepers[connection], connection.close_if_unusable_or_obsolete


def _close_nothing() -> None:
    pass


def _close_unused() -> None:
    for connection in connections.all(initialized_only=True):
        if not connection.in_atomic_block:
            connection.close()


async def _connections_closed() -> None:
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while not wait_closed(0) and time.monotonic() < deadline:  # noqa: ASYNC110 - it has a deadline
        await asyncio.sleep(0.005)


def _waiting_for_commit() -> int:
    if _testcase_block() is None:
        return 0
    return sum(len(connection.run_on_commit) for connection in connections.all(initialized_only=True))


class _LoopThread:
    """An event loop in a thread, and an executor of the thread that waits for it."""

    def __init__(self) -> None:
        self._calls: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="serversent-testing", daemon=True)
        self._thread.start()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> concurrent.futures.Future[Any]:
        future: concurrent.futures.Future[Any] = concurrent.futures.Future()

        def call() -> None:
            if not future.set_running_or_notify_cancel():
                return  # a stream that was closed meanwhile
            try:
                future.set_result(fn(*args, **kwargs))
            except BaseException as error:
                future.set_exception(error)

        self._calls.put(call)
        return future

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        done = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        done.add_done_callback(lambda _: self._calls.put(None))
        while (call := self._calls.get()) is not None:
            call()
        return done.result()

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(TIMEOUT_SECONDS)
        self._loop.close()
