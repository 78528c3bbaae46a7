"""The connections that one event loop serves: how many there may be, what one timer does for all, and how they end."""

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
from ..access.revocations import Revocation
from ..access.sessions import can_look, ended_sessions
from ..concurrency.loop_monitor import loop_monitor
from ..concurrency.tasks import in_no_context
from ..concurrency.threads import StreamThread
from ..conf import setting
from ..errors import StreamRefused
from .revocation_watch import Watch

__all__ = ["OpenConnections", "Place", "Served", "connections_of", "open_connections"]

logger = logging.getLogger("serversent")


# What is counted: a kind, and who.
Place = tuple[str, str]


class Served(Protocol):
    """A connection that is served."""

    identity: Identity

    @property
    def channels(self) -> Collection[str]:
        """The channels of its stream, if it has any."""

    def look(self, now: float, heartbeat_seconds: float) -> None:
        """See to the heartbeat and to what takes too long. Called about once a second."""

    def drain(self, delay: float) -> None:
        """End the stream, and ask the client to come back after so many seconds more than usual."""

    def end(self) -> None:
        """End the stream, and hand it nothing more. The client comes back, and is judged anew."""


class OpenConnections:
    """The connections that one event loop serves. One timer looks after all of them."""

    def __init__(self) -> None:
        self._connections: set[Served] = set()
        self._index = _Index()
        self._places: Counter[Place] = Counter()
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0  # when the timer is
        self._draining = False
        self._sessions_at = time.monotonic()
        self._sessions: asyncio.Task[None] | None = None
        self._watch = Watch(self._end_revoked, self._end_known)

    def __len__(self) -> int:
        return len(self._connections)

    def __iter__(self) -> Iterator[Served]:
        return iter(self._connections)

    # Who may come. A place is taken before the headers are sent, so that no two requests get the last one.

    def check_place(self, identity: Identity) -> None:
        """Raise ``StreamRefused`` if there is no place for one more stream. May be called from any thread."""
        for place, name, status, text in _limits(identity):
            limit = setting(name)
            if limit is not None and self._places[place] >= limit:
                logger.warning('A stream was refused: SERVERSENT["%s"] is %d', name, limit)
                raise StreamRefused(status, text)

    def take_place(self, identity: Identity) -> list[Place]:
        """Take a place, and return what is to be given back. Raises ``StreamRefused``."""
        self.check_place(identity)
        taken = [place for place, name, *_ in _limits(identity) if setting(name) is not None]
        self._places.update(taken)
        return taken

    def give_back(self, taken: Iterable[Place]) -> None:
        for place in taken:
            self._places[place] -= 1
            if not self._places[place]:
                del self._places[place]

    # What is served.

    def add(self, connection: Served) -> None:
        self._connections.add(connection)
        if self._draining:
            connection.drain(random.uniform(0, setting("DRAIN_SECONDS")))
        if self._timer is None:
            self._look_later()
        self._note(connection)

    def discard(self, connection: Served) -> None:
        self._connections.discard(connection)
        self._index.discard(connection)
        if not self._connections and self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._watch.stop()

    def rename(self, connection: Served, identity: Identity) -> None:
        """Note for whom a connection is, which was not known when it began."""
        self._index.discard(connection)
        connection.identity = identity
        self._note(connection)

    def _note(self, connection: Served) -> None:
        self._index.add(connection)
        self._watch.begin(connection.identity, connection.channels)
        if self._watch.ends(connection.identity, connection.channels):
            connection.end()

    # How it ends.

    def drain(self) -> None:
        """End every stream, and at once each one that still comes: the server stops. Call it in the loop's thread."""
        if self._draining:
            return
        self._draining = True
        connections = list(self._connections)
        random.shuffle(connections)
        # Spread evenly, so that the clients of a stopped server do not all come back at once.
        step = setting("DRAIN_SECONDS") / max(1, len(connections))
        for number, connection in enumerate(connections):
            _guarded(connection, functools.partial(connection.drain, (number + random.random()) * step))

    @property
    def has_sessions(self) -> bool:
        return bool(self._index.keys())

    def look_at_session(self, key: str) -> None:
        """End the streams of a session if it is over, which has been seen of its browser."""
        if self._index.of_key(key) and can_look():
            in_no_context(self._end_sessions([key]))

    def end_session(self, key: str) -> None:
        """End the streams of a session that is over. Their clients come back, and are judged anew."""
        for connection in list(self._index.of_key(key)):
            _guarded(connection, connection.end)

    def _end_revoked(self, revocation: Revocation) -> None:
        for connection in self._index.meant(revocation, self._connections):
            if revocation.means(connection.identity, connection.channels) and self._watch.ends(
                connection.identity, connection.channels
            ):
                _guarded(connection, connection.end)

    def _end_known(self) -> None:
        """Revocations were pruned before they were read: end every stream that one of them may mean."""
        for connection in list(self._connections):
            if connection.identity.is_known:
                _guarded(connection, connection.end)

    # What is looked at, about once a second.

    def _look_later(self) -> None:
        seconds = min(1.0, setting("HEARTBEAT_SECONDS") / 4)
        # In no context: that of the request which happened to be first would be kept for good.
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(seconds, self._look, context=contextvars.Context())
        self._due = time.monotonic() + seconds

    def _look(self) -> None:
        now, heartbeat_seconds = time.monotonic(), setting("HEARTBEAT_SECONDS")
        loop_monitor().note_delay(now - self._due)
        for connection in list(self._connections):
            try:
                connection.look(now, heartbeat_seconds)
            except Exception:
                _end_failed(connection)
        self._look_at_sessions(now)
        self._look_later()

    def _look_at_sessions(self, now: float) -> None:
        seconds, keys = setting("SESSION_CHECK_SECONDS"), self._index.keys()
        if seconds is None or now < self._sessions_at + seconds:
            return
        self._sessions_at = now
        if not keys or not can_look():
            return
        if self._sessions is None or self._sessions.done():
            self._sessions = in_no_context(self._end_sessions(keys))

    async def _end_sessions(self, keys: list[str]) -> None:
        thread = StreamThread()
        try:
            loop = asyncio.get_running_loop()
            for key in await loop.run_in_executor(thread, ended_sessions, keys):  # type: ignore[arg-type]
                self.end_session(key)
        except Exception as error:  # it is tried again
            logger.warning("The sessions of open streams could not be looked up: %r", error)
        finally:
            thread.shutdown()


def _guarded(connection: Served, call: Callable[[], None]) -> None:
    """Do something to one connection. Its errors, a server's own, are not those of the others: it ends."""
    try:
        call()
    except Exception:
        _end_failed(connection)


def _end_failed(connection: Served) -> None:
    logger.exception("A stream could not be looked after, and ends")
    with contextlib.suppress(Exception):
        connection.end()


class _Index:
    """Finds the connections of a user, a session or a session's key without looking at all of them."""

    def __init__(self) -> None:
        # Most names have one connection: a set for each would take 200 bytes.
        self._users: dict[str, Served | set[Served]] = {}
        self._sessions: dict[str, Served | set[Served]] = {}
        self._keys: dict[str, Served | set[Served]] = {}

    def add(self, connection: Served) -> None:
        for names, name in self._names(connection.identity):
            found = names.get(name)
            if found is None:
                names[name] = connection
            elif isinstance(found, set):
                found.add(connection)
            else:
                names[name] = {found, connection}

    def discard(self, connection: Served) -> None:
        for names, name in self._names(connection.identity):
            found = names.get(name)
            if isinstance(found, set):
                found.discard(connection)
            if not found or found is connection:
                names.pop(name, None)

    def _names(self, identity: Identity) -> Iterator[tuple[dict[str, "Served | set[Served]"], str]]:
        if identity.user:
            yield self._users, identity.user
        for session in identity.sessions:
            yield self._sessions, session
        if identity.session_key:
            yield self._keys, identity.session_key

    def meant(self, revocation: Revocation, connections: Collection[Served]) -> list[Served]:
        """Return the connections that a revocation may mean."""
        if revocation.sessions:
            return [each for session in revocation.sessions for each in _of(self._sessions, session)]
        return _of(self._users, revocation.user) if revocation.user else list(connections)

    def keys(self) -> list[str]:
        return list(self._keys)

    def of_key(self, key: str) -> list[Served]:
        return _of(self._keys, key)


def _of(names: Mapping[str, "Served | set[Served]"], name: str) -> list[Served]:
    found = names.get(name, set())
    return list(found) if isinstance(found, set) else [found]


def _limits(identity: Identity) -> Iterator[tuple[Place, str, int, str]]:
    """Yield each place that a stream takes, the setting that limits it, and how it is refused."""
    yield ("", ""), "MAX_CONNECTIONS", 503, "This server serves as many streams as it may."
    if identity.user:
        place = "user", identity.user
        yield place, "MAX_CONNECTIONS_PER_USER", 429, "You have as many streams open as one user may."
    if identity.address:
        place = "address", identity.address
        yield place, "MAX_CONNECTIONS_PER_ADDRESS", 429, "As many streams are open as one address may have."


_by_loop: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, OpenConnections] = weakref.WeakKeyDictionary()


def open_connections() -> OpenConnections:
    """Return the connections of the running event loop."""
    return connections_of(asyncio.get_running_loop())


def connections_of(loop: asyncio.AbstractEventLoop) -> OpenConnections:
    """Return the connections of an event loop."""
    connections = _by_loop.get(loop)
    if connections is None:
        for ended in [each for each in list(_by_loop) if each.is_closed()]:  # what they serve refers to them
            _by_loop.pop(ended, None)
        connections = _by_loop[loop] = OpenConnections()
    return connections
