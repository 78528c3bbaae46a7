"""The open connections of an event loop: their limits, the timer that looks after them, and how they end."""

import asyncio
import contextlib
import contextvars
import functools
import logging
import random
import time
import weakref
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Protocol

from ..access.identity import Identity
from ..access.revocation_feed import RevocationFeed, revocation_feed
from ..access.revocations import Revocation
from ..access.sessions import can_look, ended_sessions
from ..concurrency.loop_monitor import loop_monitor
from ..concurrency.tasks import spawn_detached
from ..concurrency.threads import StreamThread
from ..conf import setting
from ..errors import StreamRefused

__all__ = ["Connected", "ConnectionRegistry", "Slot", "connection_registry", "registry_of"]

logger = logging.getLogger("serversent")

# A kind of limit and whom it counts: ("user", "5").
Slot = tuple[str, str]


class Connected(Protocol):
    """An open connection, as the registry sees it."""

    identity: Identity

    @property
    def channels(self) -> Collection[str]:
        """The channels of its stream, if it has any."""

    def on_tick(self, now: float, heartbeat_seconds: float) -> None:
        """Send a heartbeat if one is due, and end a stream that is too old. Called about once a second."""

    def drain(self, delay: float) -> None:
        """End the stream, and ask the client to come back after so many seconds more than usual."""

    def end(self) -> None:
        """End the stream at once. The client comes back and is checked again."""


class ConnectionRegistry:
    """The connections that one event loop serves."""

    def __init__(self) -> None:
        self._connections: set[Connected] = set()
        self._index = _Index()
        self._slots: Counter[Slot] = Counter()
        self._timer = _Timer(self._on_tick)
        self._is_draining = False
        self._session_watch = _SessionWatch(self._index, self.end_session)
        self._feed: RevocationFeed | None = None

    def __len__(self) -> int:
        return len(self._connections)

    def __iter__(self) -> Iterator[Connected]:
        return iter(self._connections)

    # Limits. A slot is acquired before the headers are sent, so that no two requests get the last one.

    def check_limits(self, identity: Identity) -> None:
        """Raise ``StreamRefused`` if there is no slot for one more stream. May be called from any thread."""
        for slot, name, status, text in _limits(identity):
            limit = setting(name)
            if limit is not None and self._slots[slot] >= limit:
                logger.warning('A stream was refused: SERVERSENT["%s"] is %d', name, limit)
                raise StreamRefused(status, text)

    def acquire(self, identity: Identity) -> list[Slot]:
        """Acquire the slots of a stream, which are to be released when it ends. Raises ``StreamRefused``."""
        self.check_limits(identity)
        acquired = [slot for slot, name, *_ in _limits(identity) if setting(name) is not None]
        self._slots.update(acquired)
        return acquired

    def release(self, slots: Iterable[Slot]) -> None:
        for slot in slots:
            self._slots[slot] -= 1
            if not self._slots[slot]:
                del self._slots[slot]

    # Open connections.

    def add(self, connection: Connected) -> None:
        self._connections.add(connection)
        if self._is_draining:
            connection.drain(random.uniform(0, setting("DRAIN_SECONDS")))
        self._timer.start()
        self._index_connection(connection)

    def discard(self, connection: Connected) -> None:
        self._connections.discard(connection)
        self._index.discard(connection)
        if not self._connections:
            self._timer.stop()
            if self._feed is not None:
                self._feed.unwatch()

    def identify(self, connection: Connected, identity: Identity) -> None:
        """Set the identity of a connection that had none when it began."""
        self._index.discard(connection)
        connection.identity = identity
        self._index_connection(connection)

    def _index_connection(self, connection: Connected) -> None:
        self._index.add(connection)
        identity, channels = connection.identity, connection.channels
        if (channels or identity.is_known) and (feed := revocation_feed()) is not None:
            self._feed = feed
            feed.watch(self._end_matching, self._end_identified)
        if self._feed is not None and self._feed.is_revoked(identity, channels):
            connection.end()

    # Ending streams.

    def drain(self) -> None:
        """End every stream, also those that still come: the server stops. Call it in the loop's thread."""
        if self._is_draining:
            return
        self._is_draining = True
        connections = list(self._connections)
        random.shuffle(connections)
        # Spread evenly, so that the clients of a stopped server do not all come back at once.
        step = setting("DRAIN_SECONDS") / max(1, len(connections))
        for number, connection in enumerate(connections):
            _guarded(connection, functools.partial(connection.drain, (number + random.random()) * step))

    @property
    def has_sessions(self) -> bool:
        return bool(self._index.keys())

    def check_session(self, key: str) -> None:
        """End the streams of a session if it has ended: a request's cookie named another one."""
        self._session_watch.check(key)

    def end_session(self, key: str) -> None:
        """End the streams of a session that has ended. Their clients come back and are checked again."""
        for connection in list(self._index.of_key(key)):
            _guarded(connection, connection.end)

    def _end_matching(self, revocation: Revocation) -> None:
        for connection in self._index.candidates(revocation, self._connections):
            identity, channels = connection.identity, connection.channels
            is_match = revocation.matches(identity, channels)
            if is_match and self._feed is not None and self._feed.is_revoked(identity, channels):
                _guarded(connection, connection.end)

    def _end_identified(self) -> None:
        """Revocations were pruned unread: end every stream that one of them could match."""
        for connection in list(self._connections):
            if connection.identity.is_known:
                _guarded(connection, connection.end)

    def _on_tick(self, now: float) -> None:
        heartbeat_seconds = setting("HEARTBEAT_SECONDS")
        for connection in list(self._connections):
            try:
                connection.on_tick(now, heartbeat_seconds)
            except Exception:
                _end_failed(connection)
        self._session_watch.on_tick(now)


class _Timer:
    """One timer for all connections of an event loop."""

    def __init__(self, on_tick: Callable[[float], None]) -> None:
        self._call = on_tick
        self._handle: asyncio.TimerHandle | None = None
        self._due_at = 0.0  # of ``time.monotonic()``

    def start(self) -> None:
        if self._handle is None:
            self._schedule()

    def stop(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
        self._handle = None

    def _schedule(self) -> None:
        seconds = min(1.0, setting("HEARTBEAT_SECONDS") / 4)
        # In a new context: otherwise that of the first request would be kept.
        loop = asyncio.get_running_loop()
        self._handle = loop.call_later(seconds, self._tick, context=contextvars.Context())
        self._due_at = time.monotonic() + seconds

    def _tick(self) -> None:
        now = time.monotonic()
        loop_monitor().note_delay(now - self._due_at)
        self._call(now)
        if self._handle is not None:
            self._schedule()


class _SessionWatch:
    """Looks up the sessions of open streams now and then: Django sends no signal when one expires or is deleted."""

    def __init__(self, index: "_Index", end_session: Callable[[str], None]) -> None:
        self._index = index
        self._end_session = end_session
        self._checked_at = time.monotonic()
        self._task: asyncio.Task[None] | None = None

    def on_tick(self, now: float) -> None:
        seconds, keys = setting("SESSION_CHECK_SECONDS"), self._index.keys()
        if seconds is None or now < self._checked_at + seconds:
            return
        self._checked_at = now
        if keys and can_look() and (self._task is None or self._task.done()):
            self._task = spawn_detached(self._end_ended(keys))

    def check(self, key: str) -> None:
        """Look up one session now."""
        if self._index.of_key(key) and can_look():
            spawn_detached(self._end_ended([key]))

    async def _end_ended(self, keys: list[str]) -> None:
        thread = StreamThread()
        try:
            loop = asyncio.get_running_loop()
            for key in await loop.run_in_executor(thread, ended_sessions, keys):  # type: ignore[arg-type]
                self._end_session(key)
        except Exception as error:  # the next look tries again
            logger.warning("The sessions of open streams could not be looked up: %r", error)
        finally:
            thread.shutdown()


def _guarded(connection: Connected, call: Callable[[], None]) -> None:
    """Call a method of one connection. An error, which may be a server's, ends that connection alone."""
    try:
        call()
    except Exception:
        _end_failed(connection)


def _end_failed(connection: Connected) -> None:
    logger.exception("A connection failed, and its stream ends")
    with contextlib.suppress(Exception):
        connection.end()


class _Index:
    """Finds the connections of a user, a session or a session's key without looking at all of them."""

    def __init__(self) -> None:
        # Most names have one connection: a set for each would take 200 bytes.
        self._users: dict[str, Connected | set[Connected]] = {}
        self._sessions: dict[str, Connected | set[Connected]] = {}
        self._keys: dict[str, Connected | set[Connected]] = {}

    def add(self, connection: Connected) -> None:
        for names, name in self._names(connection.identity):
            found = names.get(name)
            if found is None:
                names[name] = connection
            elif isinstance(found, set):
                found.add(connection)
            else:
                names[name] = {found, connection}

    def discard(self, connection: Connected) -> None:
        for names, name in self._names(connection.identity):
            found = names.get(name)
            if isinstance(found, set):
                found.discard(connection)
            if not found or found is connection:
                names.pop(name, None)

    def _names(self, identity: Identity) -> Iterator[tuple[dict[str, "Connected | set[Connected]"], str]]:
        if identity.user:
            yield self._users, identity.user
        for session in identity.sessions:
            yield self._sessions, session
        if identity.session_key:
            yield self._keys, identity.session_key

    def candidates(self, revocation: Revocation, connections: Collection[Connected]) -> list[Connected]:
        """Return the connections that a revocation may match."""
        if revocation.sessions:
            return [each for session in revocation.sessions for each in _of(self._sessions, session)]
        return _of(self._users, revocation.user) if revocation.user else list(connections)

    def keys(self) -> list[str]:
        return list(self._keys)

    def of_key(self, key: str) -> list[Connected]:
        return _of(self._keys, key)


def _of(names: Mapping[str, "Connected | set[Connected]"], name: str) -> list[Connected]:
    found = names.get(name, set())
    return list(found) if isinstance(found, set) else [found]


def _limits(identity: Identity) -> Iterator[tuple[Slot, str, int, str]]:
    """Yield each slot that a stream takes, the setting that limits it, and the status and text of a refusal."""
    yield ("", ""), "MAX_CONNECTIONS", 503, "This server serves as many streams as it may."
    if identity.user:
        slot = "user", identity.user
        yield slot, "MAX_CONNECTIONS_PER_USER", 429, "You have as many streams open as one user may."
    if identity.address:
        slot = "address", identity.address
        yield slot, "MAX_CONNECTIONS_PER_ADDRESS", 429, "As many streams are open as one address may have."


_by_loop: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, ConnectionRegistry] = weakref.WeakKeyDictionary()


def connection_registry() -> ConnectionRegistry:
    """Return the registry of the running event loop."""
    return registry_of(asyncio.get_running_loop())


def registry_of(loop: asyncio.AbstractEventLoop) -> ConnectionRegistry:
    """Return the registry of an event loop."""
    registry = _by_loop.get(loop)
    if registry is None:
        for ended in [each for each in list(_by_loop) if each.is_closed()]:  # their connections refer to the loop
            _by_loop.pop(ended, None)
        registry = _by_loop[loop] = ConnectionRegistry()
    return registry
