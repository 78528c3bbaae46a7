"""The connections that one event loop serves: how many there may be, what one timer does for all, and how they end."""

import asyncio
import contextvars
import logging
import random
import time
import weakref
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from typing import Protocol

from .conf import setting
from .errors import StreamRefused
from .identity import Identity
from .revocations import Revocation
from .watch import Watch

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
        self._places: Counter[Place] = Counter()
        self._timer: asyncio.TimerHandle | None = None
        self._draining = False
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
        self._watch.begin(connection.identity, connection.channels)
        if self._watch.ends(connection.identity, connection.channels):
            connection.end()

    def discard(self, connection: Served) -> None:
        self._connections.discard(connection)
        if not self._connections and self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._watch.stop()

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
            connection.drain((number + random.random()) * step)

    def _end_revoked(self, revocation: Revocation) -> None:
        for connection in list(self._connections):
            if revocation.means(connection.identity, connection.channels) and self._watch.ends(
                connection.identity, connection.channels
            ):
                connection.end()

    def _end_known(self) -> None:
        """End all that something may mean which is not known any more: it was pruned before it was read."""
        for connection in list(self._connections):
            if connection.identity.is_known:
                connection.end()

    def _look_later(self) -> None:
        seconds = min(1.0, setting("HEARTBEAT_SECONDS") / 4)
        # In no context: that of the request which happened to be first would be kept for good.
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(seconds, self._look, context=contextvars.Context())

    def _look(self) -> None:
        now, heartbeat_seconds = time.monotonic(), setting("HEARTBEAT_SECONDS")
        for connection in list(self._connections):
            connection.look(now, heartbeat_seconds)
        self._look_later()


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
        connections = _by_loop[loop] = OpenConnections()
    return connections
